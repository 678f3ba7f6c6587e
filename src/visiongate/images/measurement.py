"""Measure encoded images: format, size, brightness, contrast, a small sketch, and why an image cannot be decoded."""

import math
from collections.abc import Iterable
from functools import partial

import numpy as np
from PIL import Image

from visiongate.images.decoding import (
    DEFAULT_OPTIONS,
    DecodeOptions,
    RefusedImageError,
    StoredImage,
    decode,
    turn_upright,
)
from visiongate.images.parallel import map_in_order
from visiongate.records.measurements import SKETCH_SIDE, Measurement

# Brightness, contrast and sketch are measured on a JPEG that may be scaled down to this side, in pixels.
MEASURED_SIDE = 2 * SKETCH_SIDE
_LEVELS = np.arange(256, dtype=np.int64)
_SQUARES = _LEVELS**2


def measure(encoded: bytes, options: DecodeOptions = DEFAULT_OPTIONS) -> Measurement:
    """Decode a whole image and measure it. An image that does not decode yields a measurement with a fault.

    A JPEG is decoded at the smallest scale, in eighths, that leaves 64 pixels to both sides. Its contrast is that of the
    picture without the finest detail. Its coded data is read to the end at every scale, so missing data is always found.

    Args:
        encoded: The image file's bytes.
        options: The data set's conversion to 8 bits, and the limit of pixels.
    """
    try:
        decoded = decode(encoded, "L", lambda _: (MEASURED_SIDE, MEASURED_SIDE), options)
    except RefusedImageError as error:
        return Measurement(*_header(error.stored), fault=error.fault, error=str(error))
    brightness, contrast = measure_levels(decoded.image)
    sketch = decoded.image.resize((SKETCH_SIDE, SKETCH_SIDE), Image.Resampling.LANCZOS, decoded.crop_box())
    upright = turn_upright(sketch, decoded.orientation).tobytes()
    return Measurement(*_header(decoded.stored), brightness=brightness, contrast=contrast, sketch=upright)


def measure_images(images: Iterable[bytes], options: DecodeOptions = DEFAULT_OPTIONS) -> list[Measurement]:
    """Measure images in order, on all cores, with few of the encoded images in memory.

    Args:
        images: Encoded images, read as they are needed.
        options: As in `measure`.
    """
    return list(map_in_order(partial(measure, options=options), images, len))


def _header(stored: StoredImage) -> tuple[str | None, int | None, int | None, str | None, bool]:
    return stored.format, stored.width, stored.height, stored.mode, stored.animated


def measure_levels(gray: Image.Image) -> tuple[float, float]:
    """Return mean and standard deviation of gray pixels, in integers up to the last division."""
    counts = np.array(gray.histogram(), dtype=np.int64)
    pixels, total, squares = int(counts.sum()), int(counts @ _LEVELS), int(counts @ _SQUARES)
    return total / pixels, math.sqrt(pixels * squares - total * total) / pixels
