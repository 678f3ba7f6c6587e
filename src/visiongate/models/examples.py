"""An image, and what a model predicts for it: whoever loads the model can check that it predicts the same."""

import base64
import io

import numpy as np
from PIL import Image

from visiongate.images.pixels import Pixels
from visiongate.models.predictor import Predictor
from visiongate.records.example import Example

# Rows and columns of blocks.
BLOCKS = 8


def make_example(model: Predictor) -> Example:
    """Return an image of a pattern, and the probabilities that a model predicts for it.

    The image has the size and the mode of the model's input, so that preprocessing does not change its pixels.
    """
    pixels = _draw_pattern(*model.contract.input_shape[1:])
    [probabilities] = model.predict(pixels[None])
    # As float32 prints, so that no digit is invented.
    return Example(base64.b64encode(_encode(pixels)).decode(), [float(str(value)) for value in probabilities])


def _draw_pattern(side: int, channels: int) -> Pixels:
    """Return blocks of different colors over a gradient: edges, areas and all brightnesses, in a small PNG."""
    rows, columns = np.indices((side, side))
    blocks = rows * BLOCKS // side * 5 + columns * BLOCKS // side * 3
    gradient = (rows + columns) * 128 // side
    planes = [blocks * 37 * (channel + 1) + gradient for channel in range(channels)]
    return (np.stack(planes, axis=-1) % 256).astype(np.uint8)


def _encode(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(buffer, "PNG")
    return buffer.getvalue()
