"""Convert a decoded image of any supported color mode to 8-bit gray or RGB. `decoding` lists the rules."""

import numpy as np
from PIL import Image

# Modes of 16-bit samples; Pillow holds some of them as 32-bit integers, mode I.
DEEP = ("I", "I;16", "I;16B", "I;16L", "I;16N")
GRAY = ("1", "L", "LA", "La", *DEEP)
SUPPORTED = (*GRAY, "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")
MAX_LEVEL = 2**16 - 1
WHITE = 255
STRIP_PIXELS = 2**20


def flatten(image: Image.Image, mode: str) -> Image.Image:
    """Convert a decoded image of a `SUPPORTED` mode.

    Args:
        image: An image that Pillow decoded.
        mode: ``L`` or ``RGB``.

    Returns:
        The image without transparency, color profile and other metadata.

    Raises:
        ValueError: A sample has more than 16 bits, or Pillow cannot convert the image.
    """
    if image.mode in DEEP:
        image = _keep_high_byte(image)
    if image.has_transparency_data:
        image = _blend_with_white(image, mode)
    if image.mode != mode:
        image = image.convert("RGB") if image.mode == "CMYK" else image
        image = image.convert(mode)
    # Pillow would write the metadata into every file made from the image.
    image.info = {}
    return image


def _keep_high_byte(image: Image.Image) -> Image.Image:
    """Convert 16-bit samples to 8 bits. `Image.convert` would clip all levels above 255."""
    levels = np.asarray(image)
    if image.mode == "I" and not 0 <= levels.min() <= levels.max() <= MAX_LEVEL:
        raise ValueError("samples have more than 16 bits")
    high = (levels >> 8).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        high[levels == transparent] = WHITE
    return Image.fromarray(high)


def _blend_with_white(image: Image.Image, mode: str) -> Image.Image:
    """Blend with white in strips, because each step copies the pixels. Gray levels stay exact."""
    transparent = image.info.get("transparency")
    # Pillow reduces the pixels of a 16-bit PNG to 8 bits, but not its transparent color.
    if isinstance(transparent, tuple) and max(transparent) > WHITE:
        image.info["transparency"] = tuple(level >> 8 for level in transparent)
    blended = Image.new(mode, image.size)
    rows = max(1, STRIP_PIXELS // image.width)
    for upper in range(0, image.height, rows):
        strip = image.crop((0, upper, image.width, min(upper + rows, image.height))).convert("RGBA")
        white = Image.new("RGBA", strip.size, "white")
        blended.paste(Image.alpha_composite(white, strip).convert(mode), (0, upper))
    return blended
