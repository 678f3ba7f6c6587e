"""RGB images of 16 bits per sample. Pillow keeps their high bytes; read in the other byte order, it keeps the low bytes."""

import sys

import numpy as np
from PIL import Image, ImageFile

from visiongate.images.colors import scale_levels
from visiongate.records.conversion import MIN_DEPTH

_LITTLE, _BIG = "RGB;16L", "RGB;16B"
# Pillow's names of the sample layouts. N is the byte order of this machine, into which libtiff converts.
_OTHER_ORDER = {_LITTLE: _BIG, _BIG: _LITTLE, "RGB;16N": _BIG if sys.byteorder == "little" else _LITTLE}


def is_deep_color(image: Image.Image) -> bool:
    """Return whether an image that is not yet loaded has three samples of 16 bits."""
    return all(layout in _OTHER_ORDER for layout in _layouts(image)) and bool(_layouts(image))


def count_color_bits(high_bytes: Image.Image) -> int:
    """Return the bits, 8 to 16, that the largest sample needs, given the high bytes of all samples."""
    return MIN_DEPTH + int(np.asarray(high_bytes).max()).bit_length()


def swap_bytes(image: Image.Image) -> None:
    """Let an image that is not yet loaded keep the low bytes of its samples."""
    if isinstance(image, ImageFile.ImageFile):
        image.tile = [
            tile._replace(args=_swap(tile.args))  # type: ignore[arg-type]
            for tile in image.tile
        ]


def scale_colors(high_bytes: Image.Image, low_bytes: Image.Image, depth: int) -> Image.Image:
    """Reduce 16-bit samples to 8 bits, as `scale_levels` does.

    Args:
        high_bytes: The loaded image.
        low_bytes: The same image, loaded after `swap_bytes`.
        depth: Bits of the range, 8 to 16.
    """
    levels = np.asarray(high_bytes).astype(np.uint16) << MIN_DEPTH
    levels |= np.asarray(low_bytes)
    scaled = Image.fromarray(scale_levels(levels, depth))
    scaled.info = dict(high_bytes.info)
    transparent = scaled.info.get("transparency")
    if isinstance(transparent, tuple):
        scaled.info["transparency"] = tuple(scale_levels(np.array(transparent), depth).tolist())
    return scaled


def _layouts(image: Image.Image) -> list[object]:
    tiles = image.tile if isinstance(image, ImageFile.ImageFile) else []
    return [tile.args[0] if isinstance(tile.args, tuple) else tile.args for tile in tiles]


def _swap(args: object) -> object:
    if isinstance(args, tuple):
        return (_OTHER_ORDER[args[0]], *args[1:])
    return _OTHER_ORDER[str(args)]
