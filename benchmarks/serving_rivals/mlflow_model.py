"""An image classifier as a Python model of MLflow: images arrive as base64 in JSON, as in its example of flowers."""

import base64
import io

import mlflow
import numpy as np
import onnxruntime
from mlflow.pyfunc import PythonModel, PythonModelContext
from PIL import Image, ImageOps


class Classifier(PythonModel):
    """The model."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the network."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(context.artifacts["network"], options)
        self.side = self.session.get_inputs()[0].shape[1]

    def predict(self, model_input: list[str]) -> list[list[float]]:
        """Return the probabilities of each image."""
        images = [Image.open(io.BytesIO(base64.b64decode(encoded))) for encoded in model_input]
        pixels = [np.asarray(ImageOps.fit(image.convert("RGB"), (self.side, self.side))) for image in images]
        return self.session.run(["probabilities"], {"images": np.stack(pixels)})[0].tolist()


mlflow.models.set_model(Classifier())
