"""Convert a decoded image of any supported color mode to 8-bit gray or RGB. `decoding` lists the rules."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from visiongate.records.conversion import MAX_DEPTH, MIN_DEPTH, Conversion

# Modes of 16-bit samples; Pillow holds some of them as 32-bit integers, mode I.
DEEP = ("I", "I;16", "I;16B", "I;16L", "I;16N")
GRAY = ("1", "L", "LA", "La", *DEEP)
SUPPORTED = (*GRAY, "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")
MAX_LEVEL = 2**MAX_DEPTH - 1
BACKGROUND_LEVELS: Mapping[str, int] = {"white": 255, "black": 0, "gray": 128}
OPAQUE = 255
STRIP_PIXELS = 2**20


def flatten(image: Image.Image, mode: str, conversion: Conversion) -> Image.Image:
    """Convert a decoded image of a `SUPPORTED` mode.

    Args:
        image: An image that Pillow decoded.
        mode: ``L`` or ``RGB``.
        conversion: The range of 16-bit samples, and the color behind transparent areas.

    Returns:
        The image without transparency, color profile and other metadata.

    Raises:
        ValueError: A sample has more than 16 bits, or Pillow cannot convert the image.
    """
    background = BACKGROUND_LEVELS[conversion.background]
    if image.mode in DEEP:
        image = _reduce_depth(image, conversion.depth, background)
    if image.has_transparency_data:
        image = _lay_over(image, mode, background)
    if image.mode != mode:
        image = image.convert("RGB") if image.mode == "CMYK" else image
        image = image.convert(mode)
    # Pillow would write the metadata into every file made from the image.
    image.info = {}
    return image


def scale_levels(levels: npt.NDArray[Any], depth: int) -> npt.NDArray[np.uint8]:
    """Map 16-bit levels to 8 bits: of a range of ``depth`` bits, keep the highest 8. Higher levels are clipped."""
    scaled: npt.NDArray[np.uint8] = (np.minimum(levels, 2**depth - 1) >> (depth - MIN_DEPTH)).astype(np.uint8)
    return scaled


def count_bits(image: Image.Image) -> int:
    """Return the bits, 8 to 16, that the largest sample of a `DEEP` image needs."""
    return max(MIN_DEPTH, int(np.asarray(image).max()).bit_length())


def has_transparent_pixels(image: Image.Image) -> bool:
    """Return whether any pixel is not opaque. Many programs write an alpha channel that is opaque everywhere."""
    if image.mode in DEEP:
        return isinstance(image.info.get("transparency"), int)
    if not image.has_transparency_data:
        return False
    if "A" in image.getbands():
        lowest, _ = image.getchannel("A").getextrema()
        return float(lowest) < OPAQUE  # type: ignore[arg-type]
    return True


def _reduce_depth(image: Image.Image, depth: int, background: int) -> Image.Image:
    """Convert 16-bit samples to 8 bits. `Image.convert` would clip all levels above 255."""
    levels = np.asarray(image)
    if image.mode == "I" and not 0 <= levels.min() <= levels.max() <= MAX_LEVEL:
        raise ValueError("samples are negative or have more than 16 bits; save the image with 8 or 16 bits")
    scaled = scale_levels(levels, depth)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        scaled[levels == transparent] = background
    return Image.fromarray(scaled)


def _lay_over(image: Image.Image, mode: str, background: int) -> Image.Image:
    """Lay an image over a gray level, in strips, because each step copies the pixels. Gray levels stay exact."""
    transparent = image.info.get("transparency")
    # Pillow reduces the pixels of a 16-bit PNG to 8 bits, but not its transparent color.
    if isinstance(transparent, tuple) and max(transparent) > OPAQUE:
        image.info["transparency"] = tuple(level >> 8 for level in transparent)
    blended = Image.new(mode, image.size)
    rows = max(1, STRIP_PIXELS // image.width)
    for upper in range(0, image.height, rows):
        strip = image.crop((0, upper, image.width, min(upper + rows, image.height))).convert("RGBA")
        behind = Image.new("RGBA", strip.size, (background,) * 3 + (OPAQUE,))
        blended.paste(Image.alpha_composite(behind, strip).convert(mode), (0, upper))
    return blended
