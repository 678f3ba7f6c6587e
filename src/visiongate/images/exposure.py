"""Brightness and contrast of a model's input, as the evaluation and the service measure them, so that they can be compared."""

import math
from typing import Final, NamedTuple

import numpy as np

from visiongate.images.pixels import Pixels

_LEVELS: Final = 255


class Exposure(NamedTuple):
    """How bright an image is.

    Attributes:
        brightness: Mean of the pixels of all channels, 0 to 1.
        contrast: Their standard deviation, 0 to 0.5.
    """

    brightness: float
    contrast: float


def measure_exposure(pixels: Pixels) -> Exposure:
    """Measure the input of a model, from exact integer sums.

    Args:
        pixels: uint8, of any shape.
    """
    count, total = pixels.size, int(pixels.sum(dtype=np.uint64))
    squares = int(np.square(pixels, dtype=np.uint16).sum(dtype=np.uint64))
    deviation = math.sqrt(count * squares - total**2) / count
    return Exposure(total / count / _LEVELS, deviation / _LEVELS)
