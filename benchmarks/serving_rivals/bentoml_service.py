"""An image classifier with BentoML: adaptive batching, a worker per core."""

import os

import bentoml
import numpy as np
import onnxruntime
from PIL import Image, ImageOps

CORES = len(os.sched_getaffinity(0))


@bentoml.service(workers=CORES)
class Classifier:
    """The service."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(os.environ["MODEL"], options)
        self.side = self.session.get_inputs()[0].shape[1]

    @bentoml.api(batchable=True, max_batch_size=16)
    def predict(self, images: list[Image.Image]) -> list[list[float]]:
        """Return the probabilities of each image."""
        pixels = [np.asarray(ImageOps.fit(image.convert("RGB"), (self.side, self.side))) for image in images]
        return self.session.run(["probabilities"], {"images": np.stack(pixels)})[0].tolist()
