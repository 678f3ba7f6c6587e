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
    except UnidentifiedImageError:  # its message holds a memory address, and reasons are written to reports
        raise DataError("not an image of a known format") from None
    except Exception as error:  # noqa: BLE001 - on damaged bytes Pillow's decoders raise of every kind
        raise DataError(" ".join(str(error).split()) or type(error).__name__) from None
    return image


def measure(encoded: bytes) -> Measurement:
    """Decode an image and describe it; never raises for a bad one."""
    try:
        image = open_image(encoded)
        grey = np.asarray(_convert(image, "L"), dtype=np.float64)
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
    image = _convert(_upright(open_image(encoded)), mode)
    target = (size, size)
    if resize == "centre-crop":
        image = ImageOps.fit(image, target, Image.Resampling.BILINEAR)
    elif resize == "letterbox":
        image = ImageOps.pad(image, target, Image.Resampling.BILINEAR)
    elif image.size != target:
        image = image.resize(target, Image.Resampling.BILINEAR, reducing_gap=2.0)
    return np.asarray(image, dtype=np.uint8).reshape(size, size, -1)


def _upright(image: Image.Image) -> Image.Image:
    """Turn an image as its EXIF says; where that is damaged, the pixels are still good."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # noqa: BLE001 - as above
        return image


def _convert(image: Image.Image, mode: str) -> Image.Image:
    """Convert to 8 bits a channel; Pillow alone would clip all that is above 255 in 16 bits."""
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    try:
        return image.convert(mode)
    except ValueError as error:  # LAB, for one, converts to nothing we need
        raise DataError(f"mode {image.mode}: {error}") from None
