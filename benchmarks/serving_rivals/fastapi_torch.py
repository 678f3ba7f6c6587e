"""The usual image classifier: FastAPI, torch and Pillow."""

import os
from typing import Annotated

import numpy as np
import torch
from efficientnet_lite_pytorch import EfficientNet
from fastapi import FastAPI, File, UploadFile
from PIL import Image, ImageOps

CLASSES = ("first", "second")

model = EfficientNet.from_name("efficientnet-lite0", num_classes=len(CLASSES))
model.load_state_dict(torch.load(os.environ["MODEL"], weights_only=True))
model.eval()
app = FastAPI()


def preprocess(image: Image.Image) -> torch.Tensor:
    """Return a normalized batch of one image."""
    pixels = np.asarray(ImageOps.fit(image.convert("RGB"), (224, 224)), dtype=np.float32)
    return torch.from_numpy((pixels - 127) / 128).permute(2, 0, 1).unsqueeze(0)


@app.get("/health")
def health() -> dict[str, str]:
    """Tell that the service is alive."""
    return {"status": "ok"}


@app.post("/predict")
def predict(file: Annotated[UploadFile, File()]) -> dict[str, object]:
    """Return the class and the probabilities of an image."""
    with torch.inference_mode():
        probabilities = model(preprocess(Image.open(file.file))).softmax(1)[0]
    return {
        "predicted_label": CLASSES[int(probabilities.argmax())],
        "probabilities": dict(zip(CLASSES, probabilities.tolist(), strict=True)),
    }
