"""Decode JPEG with libjpeg-turbo at a reduced scale: a small result needs few of a photograph's pixels.

The inverse discrete cosine transform of each 8 × 8 block yields fewer pixels, which saves most of the work after entropy
decoding (Wallace, The JPEG still picture compression standard, 1992; libjpeg's ``scale_num``). Decoding releases Python's
global lock.
"""

import numpy as np
import numpy.typing as npt
import simplejpeg

# The full scale, in eighths.
FULL = 8
# Reduced scales in eighths. Larger ones are slower than a full decode, which has optimized code.
SCALES = (1, 2, 3, 4, 5)
# simplejpeg's color spaces by Pillow's mode.
_COLOR_SPACES = {"L": "GRAY", "RGB": "RGB"}


class MissingPixelsError(ValueError):
    """The coded data of a JPEG ends before its last pixel, although the file has an end marker."""


def choose_scale(size: tuple[int, int], min_size: tuple[int, int]) -> int:
    """Return the smallest scale, in eighths, at which both sides keep their minimum.

    Args:
        size: Stored width and height, in pixels.
        min_size: Width and height that must remain.
    """
    sides = list(zip(size, min_size, strict=True))
    return next((scale for scale in SCALES if all(side * scale >= FULL * few for side, few in sides)), FULL)


def decode(encoded: bytes, size: tuple[int, int], mode: str, eighths: int) -> npt.NDArray[np.uint8] | None:
    """Decode a gray or three-component JPEG at a scale.

    Args:
        encoded: The file's bytes.
        size: Stored width and height, in pixels.
        mode: ``L`` or ``RGB``.
        eighths: A scale of `SCALES`, or `FULL`.

    Returns:
        uint8, H×W for ``L`` and H×W×3 for ``RGB``. Both sides are scaled and rounded up. None if libjpeg-turbo reports any
        damage, even damage that it can repair.

    Raises:
        MissingPixelsError: The coded data ends too early.
    """
    # simplejpeg chooses the smallest scale that keeps these sides; 0 requests the full size.
    width, height = (0, 0) if eighths == FULL else (-(-side * eighths // FULL) for side in size)
    try:
        pixels: npt.NDArray[np.uint8] = simplejpeg.decode_jpeg(
            encoded, _COLOR_SPACES[mode], min_width=width, min_height=height
        )
    except ValueError as error:
        if "premature end of data segment" in str(error):
            raise MissingPixelsError(str(error)) from None
        return None
    return pixels[:, :, 0] if mode == "L" else pixels
