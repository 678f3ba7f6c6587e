"""From encoded bytes to pixels: the one place that opens images."""

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from visiongate.errors import DataError

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Measurement:
    """What an image is, once decoded; ``error`` says why it could not be."""

    format: str | None  # as Pillow names it, from the bytes alone
    width: int | None  # pixels
    height: int | None  # pixels
    mode: str | None
    brightness: float | None  # mean of the greyscale pixels, 0..255
    contrast: float | None  # their standard deviation
    error: str | None


def open_image(encoded: bytes) -> Image.Image:
    """Decode an image whole, so that a truncated file fails here and not later.

    Raises:
        DataError: The bytes are no image that Pillow knows, are truncated, or are too large to decode safely.
    """
    try:
        image = Image.open(io.BytesIO(encoded))
        image.load()
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise DataError(" ".join(str(error).split()) or type(error).__name__) from None
    return image


def measure(encoded: bytes) -> Measurement:
    """Decode an image and describe it; never raises for a bad one."""
    try:
        image = open_image(encoded)
        grey = np.asarray(image.convert("L"), dtype=np.float64)
    except DataError as error:
        return Measurement(None, None, None, None, None, None, str(error))
    return Measurement(
        image.format, image.width, image.height, image.mode, float(grey.mean()), float(grey.std()), None
    )


def to_pixels(encoded: bytes, size: int, mode: str, resize: str) -> Pixels:
    """Decode and resize to the pixels a network sees: the same function for training, evaluation and serving.

    Args:
        encoded: The image file's bytes.
        size: Both sides of the result, in pixels.
        mode: ``L`` or ``RGB``.
        resize: ``stretch`` ignores the aspect, ``centre-crop`` cuts the longer side, ``letterbox`` pads the shorter with black.

    Returns:
        uint8, ``size`` × ``size`` × channels.

    Raises:
        DataError: The bytes cannot be decoded.
    """
    image = ImageOps.exif_transpose(open_image(encoded)).convert(mode)
    target = (size, size)
    if resize == "centre-crop":
        image = ImageOps.fit(image, target, Image.Resampling.BILINEAR)
    elif resize == "letterbox":
        image = ImageOps.pad(image, target, Image.Resampling.BILINEAR)
    elif image.size != target:
        image = image.resize(target, Image.Resampling.BILINEAR, reducing_gap=2.0)
    return np.asarray(image, dtype=np.uint8).reshape(size, size, -1)
