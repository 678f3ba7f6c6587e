"""Preprocess an encoded image to a network's input, and make thumbnails."""

import io
from functools import partial

import numpy as np
from PIL import Image

from visiongate.images.decoding import (
    DEFAULT_OPTIONS,
    Box,
    DecodedImage,
    DecodeOptions,
    MinSize,
    Pixels,
    Size,
    StoredImage,
    decode,
    turn_upright,
)

# Pillow's `reducing_gap`: an image is first reduced by averaging whole blocks, to no less than three times the final size.
REDUCING_GAP = 3.0


def to_pixels(
    encoded: bytes, size: int, mode: str, resize: str, options: DecodeOptions = DEFAULT_OPTIONS
) -> Pixels:
    """Decode and resize an image. Training, evaluation and serving use this same function.

    Args:
        encoded: The image file's bytes.
        size: Height and width of the result, in pixels.
        mode: ``L`` or ``RGB``.
        resize: ``stretch`` ignores the aspect ratio, ``center-crop`` cuts the longer side, ``letterbox`` pads the shorter side
            with black.
        options: The data set's conversion to 8 bits, as ``transform.json`` records it, and the limit of pixels.

    Returns:
        uint8, ``size`` × ``size`` × channels, read-only.

    Raises:
        DataError: The image is damaged, too large or of an unsupported mode.
    """
    return preprocess(encoded, size, mode, resize, options)[0]


def preprocess(
    encoded: bytes, size: int, mode: str, resize: str, options: DecodeOptions = DEFAULT_OPTIONS
) -> tuple[Pixels, StoredImage]:
    """Return the pixels as `to_pixels` does, and the image's header."""
    min_size: MinSize = partial(_fit_inside, size) if resize == "letterbox" else lambda _: (size, size)
    decoded = decode(encoded, mode, min_size, options)
    box = _center_square(decoded) if resize == "center-crop" else decoded.crop_box()
    image = _resize(decoded.image, min_size(decoded.size), box)
    square = _pad(turn_upright(image, decoded.orientation), size)
    return np.asarray(square, dtype=np.uint8).reshape(size, size, -1), decoded.stored


def thumbnail(encoded: bytes, side: int, options: DecodeOptions = DEFAULT_OPTIONS) -> bytes:
    """Return an upright PNG, gray for a gray image, whose sides are at most ``side``. The image is never enlarged.

    Raises:
        DataError: As `to_pixels`.
    """
    decoded = decode(encoded, None, partial(_fit_inside, side), options)
    target = decoded.size if max(decoded.size) <= side else _fit_inside(side, decoded.size)
    small = _resize(decoded.image, target, decoded.crop_box())
    buffer = io.BytesIO()
    turn_upright(small, decoded.orientation).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _fit_inside(side: int, size: Size) -> Size:
    """Scale a size so that its longer side equals ``side``; the shorter side keeps at least one pixel."""
    longest = max(size)
    return max(1, round(size[0] / longest * side)), max(1, round(size[1] / longest * side))


def _center_square(decoded: DecodedImage) -> Box:
    width, height = decoded.size
    side = min(width, height)
    return decoded.crop_box((width - side) / 2, (height - side) / 2)


def _resize(image: Image.Image, target: Size, box: Box) -> Image.Image:
    if image.size == target and box == (0.0, 0.0, float(target[0]), float(target[1])):
        return image
    return image.resize(target, Image.Resampling.BILINEAR, box, reducing_gap=REDUCING_GAP)


def _pad(image: Image.Image, size: int) -> Image.Image:
    """Center an image on a black square."""
    if image.size == (size, size):
        return image
    square = Image.new(image.mode, (size, size))
    square.paste(image, (round((size - image.width) * 0.5), round((size - image.height) * 0.5)))
    return square
