"""From encoded bytes to pixels: the one place that opens images."""

import io
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from visiongate.errors import DataError

Pixels = npt.NDArray[np.uint8]


MAX_PIXELS = 100_000_000  # width times height of one image, where nothing else is said
CHUNK = 256  # encoded images in memory at a time while they are measured
SKETCH_SIDE = 32  # pixels
GREY_SCALE = 256  # 16-bit levels to one 8-bit level


class Fault(StrEnum):
    """Why an image cannot be used, as far as its bytes tell."""

    UNDECODABLE = "undecodable"
    TRUNCATED = "truncated"
    TOO_LARGE = "too_large"
    UNSUPPORTED_MODE = "unsupported_mode"


@dataclass(frozen=True, slots=True)
class Measurement:
    """What an image is, once decoded; what is not known is None."""

    format: str | None  # as Pillow names it, from the bytes alone
    width: int | None  # pixels, as stored
    height: int | None  # pixels, as stored
    mode: str | None  # as Pillow names it, as stored
    animated: bool  # has more than one frame
    brightness: float | None  # mean of the grey pixels, 0..255
    contrast: float | None  # their standard deviation
    sketch: bytes | None  # 32 × 32 grey pixels, row by row, of the image upright
    fault: Fault | None  # None where it decodes
    error: str | None  # the fault in one line


def open_image(encoded: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
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


def measure(encoded: bytes, max_pixels: int = MAX_PIXELS) -> Measurement:
    """Decode an image and describe it; never raises for a bad one."""
    try:
        image = open_image(encoded, max_pixels)
        picture = _convert(_upright(image), "L")
    except DataError as error:
        return Measurement(
            *(None, None, None, None),
            animated=False,
            brightness=None,
            contrast=None,
            sketch=None,
            fault=Fault.UNDECODABLE,
            error=str(error),
        )
    grey = np.asarray(picture, dtype=np.float64)
    sketch = picture.resize((SKETCH_SIDE, SKETCH_SIDE), Image.Resampling.LANCZOS).tobytes()
    stored = (image.format, image.width, image.height, image.mode, getattr(image, "is_animated", False))
    return Measurement(*stored, float(grey.mean()), float(grey.std()), sketch, None, None)


def measure_images(images: Iterable[bytes], max_pixels: int = MAX_PIXELS) -> list[Measurement]:
    """Measure images in order, in as many threads as there are cores: Pillow decodes outside Python's global lock.

    Args:
        images: Encoded images; read `CHUNK` at a time, and decoded one a thread.
        max_pixels: As in `measure`.
    """
    iterator, measurements = iter(images), list[Measurement]()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        while chunk := list(islice(iterator, CHUNK)):
            measurements.extend(pool.map(lambda image: measure(image, max_pixels), chunk))
    return measurements


def thumbnail(encoded: bytes, side: int, max_pixels: int = MAX_PIXELS) -> bytes:
    """Make a small PNG of an image, upright, with neither side over ``side`` pixels and never enlarged.

    Raises:
        DataError: The bytes cannot be decoded.
    """
    image = open_image(encoded, max_pixels)
    with suppress(Exception):  # where the EXIF block is damaged, the pixels are still good
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):  # Pillow would clip all that is above 255
        image = image.point(lambda level: level / GREY_SCALE)
    image = image.convert("L" if Image.getmodebase(image.mode) == "L" else "RGB")
    image.thumbnail((side, side))
    image.info = {}  # a colour profile or EXIF block would outweigh the pixels
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def to_pixels(encoded: bytes, size: int, mode: str, resize: str, max_pixels: int = MAX_PIXELS) -> Pixels:
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
    image = _convert(_upright(open_image(encoded, max_pixels)), mode)
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
