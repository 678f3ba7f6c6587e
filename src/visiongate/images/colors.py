"""Every color mode that has a rule becomes 8-bit gray or RGB; `decoding` states the rules."""

import numpy as np
from PIL import Image

DEEP = ("I", "I;16", "I;16B", "I;16L", "I;16N")
GRAY = ("1", "L", "LA", "La", *DEEP)
SUPPORTED = (*GRAY, "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")
DEEPEST = 2**16 - 1
WHITE = 255
STRIP = 2**20  # pixels laid over white at a time


def flatten(image: Image.Image, mode: str) -> Image.Image:
    """Convert a decoded image of a `SUPPORTED` mode.

    Args:
        image: As Pillow decoded it.
        mode: ``L`` or ``RGB``.

    Returns:
        The image without transparency, color profile or anything else beside its pixels.

    Raises:
        ValueError: Its numbers have more than 16 bits, or Pillow cannot convert it.
    """
    if image.mode in DEEP:
        image = _take_high_byte(image)
    if image.has_transparency_data:
        image = _lay_over_white(image, mode)
    if image.mode != mode:
        image = image.convert("RGB") if image.mode == "CMYK" else image
        image = image.convert(mode)
    image.info = {}  # it would go into whatever is made of the image
    return image


def _take_high_byte(image: Image.Image) -> Image.Image:
    """Take the high byte of 16; Pillow alone would clip all that is above 255."""
    levels = np.asarray(image)
    if image.mode == "I" and not 0 <= levels.min() <= levels.max() <= DEEPEST:
        raise ValueError("its numbers have more than 16 bits")
    high = (levels >> 8).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        high[levels == transparent] = WHITE
    return Image.fromarray(high)


def _lay_over_white(image: Image.Image, mode: str) -> Image.Image:
    """Lay an image over white, some rows at a time, for each step takes a copy; gray stays gray to the bit."""
    transparent = image.info.get("transparency")
    if (
        isinstance(transparent, tuple) and max(transparent) > WHITE
    ):  # of 16 bits, while the pixels have 8 already
        image.info["transparency"] = tuple(level >> 8 for level in transparent)
    whole = Image.new(mode, image.size)
    rows = max(1, STRIP // image.width)
    for upper in range(0, image.height, rows):
        strip = image.crop((0, upper, image.width, min(upper + rows, image.height))).convert("RGBA")
        whole.paste(
            Image.alpha_composite(Image.new("RGBA", strip.size, "white"), strip).convert(mode), (0, upper)
        )
    return whole
