"""An image classifier with LitServe, from its guide: batches, and a worker per core."""

import base64
import io
import os

import litserve
import numpy as np
import onnxruntime
from PIL import Image, ImageOps

CORES = len(os.sched_getaffinity(0))


class Classifier(litserve.LitAPI):
    """The service."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - its signature
        """Load the model."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(os.environ["MODEL"], options)
        self.side = self.session.get_inputs()[0].shape[1]

    def decode_request(self, request: dict[str, str]) -> np.ndarray:
        """Return the pixels of an image."""
        image = Image.open(io.BytesIO(base64.b64decode(request["image"])))
        return np.asarray(ImageOps.fit(image.convert("RGB"), (self.side, self.side)))

    def predict(self, pixels: np.ndarray) -> np.ndarray:
        """Return the probabilities of a batch."""
        return self.session.run(["probabilities"], {"images": pixels})[0]

    def encode_response(self, probabilities: np.ndarray) -> dict[str, list[float]]:
        """Return the answer for an image."""
        return {"probabilities": probabilities.tolist()}


if __name__ == "__main__":
    api = Classifier(max_batch_size=16, batch_timeout=0.005)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=CORES)
    server.run(host="127.0.0.1", port=int(os.environ["PORT"]), generate_client_file=False)
