"""Draw a heat map over the image that the model saw."""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from visiongate.explanation import inferno
from visiongate.images.pixels import Pixels

# The color map is perceptually uniform, and readable with any color vision. Its pale end is left out, so that the strongest
# places stand out from a white image, too.
BRIGHTEST = 0.8
# The opacity of the strongest place.
MAX_OPACITY = 0.8


def blend(pixels: Pixels, heat: npt.NDArray[np.float32]) -> Pixels:
    """Color the places that speak for a class, the stronger the more opaque; the image itself becomes gray.

    Args:
        pixels: The model's input, uint8 H×W×C of 1 or 3 channels.
        heat: H×W. Values up to 0 and undefined ones stay gray; the highest value has the brightest color.

    Returns:
        uint8, H×W×3.
    """
    positive = np.maximum(np.nan_to_num(heat, nan=0.0, posinf=0.0), 0.0)
    strength = positive / max(float(positive.max()), np.finfo(np.float32).tiny)
    opacity = MAX_OPACITY * strength[..., None]
    mixed = (1 - opacity) * _gray(pixels)[..., None] + opacity * inferno.colors(BRIGHTEST * strength)
    blended: Pixels = np.rint(mixed).astype(np.uint8)
    return blended


def overlay(pixels: Pixels, heat: npt.NDArray[np.float32]) -> bytes:
    """Return the PNG of a heat map over its image, as `blend` draws it."""
    buffer = io.BytesIO()
    Image.fromarray(blend(pixels, heat)).save(buffer, "PNG")
    return buffer.getvalue()


def _gray(pixels: Pixels) -> npt.NDArray[np.uint8]:
    """Return the brightness of an image, H×W."""
    if pixels.shape[-1] == 1:
        return pixels[..., 0]
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).convert("L"))
