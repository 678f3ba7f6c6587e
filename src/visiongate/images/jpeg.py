"""JPEG by libjpeg-turbo's scaled decode: of a photograph only as many pixels are made as the final size needs.

The discrete cosine transform of each 8 × 8 block is inverted to fewer pixels, which spares most of the work after the entropy
decoding (Wallace, The JPEG still picture compression standard, 1992; libjpeg's ``scale_num``). Decoding is outside of Python's
global lock. What is taken this way depends on the bytes alone: gray and three-component images that libjpeg-turbo decodes
without a warning. All else is left to Pillow.
"""

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import simplejpeg

SIGNATURE = b"\xff\xd8\xff"
MAX_SCANS = 64  # progressive files of encoders in use have about ten; each costs a pass over all of the image
WHOLE = 8  # eighths
SCALES = (1, 2, 3, 4, 5)  # eighths; of more, decoding costs more than decoding all, which has faster code
ORIENTATION = 0x0112  # EXIF's tag
_MODES = {"Gray": "L", "YCbCr": "RGB", "RGB": "RGB"}  # color space in the file: Pillow's mode
_COLORS = {"L": "GRAY", "RGB": "RGB"}  # Pillow's mode: simplejpeg's name
_START_OF_SCAN, _APP1, _APP2 = 0xFFDA, 0xFFE1, 0xFFE2
_SEQUENTIAL_FRAMES = (0xFFC0, 0xFFC1)
_EXIF, _MULTI_PICTURE = b"Exif\x00\x00", b"MPF\x00"
_SHORT = 3  # EXIF's type of a 16-bit number


@dataclass(frozen=True, slots=True)
class Header:
    """What a JPEG says of itself before its pixels."""

    width: int  # pixels, as stored
    height: int  # pixels, as stored
    mode: str  # L or RGB, as Pillow would decode it
    orientation: int | None  # EXIF's, 1 to 8; None where a closer look is needed
    multi_picture: bool  # claims to hold more pictures than one
    scans: int  # passes over the image, at most


class MissingPixelsError(ValueError):
    """A JPEG whose coded data ends before its pixels do, though the file goes on; the rest would be gray."""


@dataclass(slots=True)
class _Segments:
    """What the segments before the first scan tell; until then, what is known of them."""

    orientation: int | None = 1
    exifs: int = 0
    multi_picture: bool = False
    components: int = 0  # of a sequential frame; 0 where it is progressive
    scanned: int = 0  # components in the first scan; 0 where none was reached


def read_header(encoded: bytes) -> Header | None:
    """Read the header of a JPEG that `decode` can try; None for anything else."""
    if not encoded.startswith(SIGNATURE):
        return None
    try:
        height, width, colors, _ = simplejpeg.decode_jpeg_header(encoded)
    except ValueError:
        return None
    if colors not in _MODES:
        return None
    found = _read_segments(encoded)
    orientation = found.orientation if found.scanned and found.exifs <= 1 else None
    # Counting reads all of the file, which for the usual kind would take a tenth of the time that decoding takes.
    scans = 1 if found.scanned and found.scanned == found.components else count_scans(encoded)
    return Header(int(width), int(height), _MODES[colors], orientation, found.multi_picture, scans)


def count_scans(encoded: bytes) -> int:
    """Count the scans that a JPEG can have at most: among coded pixels the marker cannot occur by chance."""
    return encoded.count(b"\xff\xda") if encoded.startswith(SIGNATURE) else 0


def choose_scale(size: tuple[int, int], least: tuple[int, int]) -> int:
    """Choose the smallest scale, in eighths, that leaves so many pixels to both sides; where none of `SCALES` does, 8."""
    sides = list(zip(size, least, strict=True))
    fits = (eighths for eighths in SCALES if all(side * eighths >= WHOLE * few for side, few in sides))
    return next(fits, WHOLE)


def decode(encoded: bytes, header: Header, mode: str, eighths: int) -> npt.NDArray[np.uint8] | None:
    """Decode at a scale.

    Args:
        encoded: A JPEG.
        header: Its header.
        mode: ``L`` or ``RGB``.
        eighths: The scale, of `SCALES` or 8.

    Returns:
        uint8, height × width × channels, both sides times the scale and rounded up; what rounding up adds to the right and
        below is of the encoder's padding. None where libjpeg-turbo finds anything wrong, be it something that it could mend.

    Raises:
        MissingPixelsError: The coded data ends too early, and an end was put to the file all the same.
    """
    width, height = (
        (0, 0) if eighths == WHOLE else (_scale(header.width, eighths), _scale(header.height, eighths))
    )
    try:
        pixels: npt.NDArray[np.uint8] = simplejpeg.decode_jpeg(
            encoded, _COLORS[mode], min_width=width, min_height=height
        )
    except ValueError as error:
        if "premature end of data segment" in str(error):
            raise MissingPixelsError(str(error)) from None
        return None
    return pixels


def _scale(side: int, eighths: int) -> int:
    return -(-side * eighths // WHOLE)


def read_orientation(exif: bytes) -> int | None:
    """Read the orientation of an EXIF block that starts at its byte order.

    Returns:
        1 where it tells none; None where it is damaged or written as the standard does not have it.
    """
    order = {b"II*\x00": "<", b"MM\x00*": ">"}.get(exif[:4])
    if order is None:
        return None
    try:
        (start,) = struct.unpack_from(f"{order}I", exif, 4)
        (entries,) = struct.unpack_from(f"{order}H", exif, start)
        directory = memoryview(exif)[start + 2 : start + 2 + 12 * entries]
        for tag, kind, count, value in struct.iter_unpack(f"{order}HHIH2x", directory):
            if tag == ORIENTATION:
                return value if kind == _SHORT and count == 1 else None
    except struct.error:
        return None
    return 1


def _read_segments(encoded: bytes) -> _Segments:
    """Walk the segments up to the first scan (ITU-T T.81, B.1.1), as far as they are where they should be."""
    found, position = _Segments(), 2
    while position + 5 <= len(encoded):
        marker, length = struct.unpack_from(">HH", encoded, position)
        if marker < 0xFF02 or marker == 0xFFFF:  # noqa: PLR2004 - no marker, or one that is padded
            break
        start, end = position + 4, position + 2 + length
        if marker == _START_OF_SCAN:
            found.scanned = encoded[start]
            break
        if marker in _SEQUENTIAL_FRAMES and length > 7:  # noqa: PLR2004 - B.2.2: precision, height, width, components
            found.components = encoded[min(start + 5, len(encoded) - 1)]
        else:
            _read_application(encoded, marker, slice(start, end), found)
        position = end
    return found


def _read_application(encoded: bytes, marker: int, place: slice, found: _Segments) -> None:
    """Take note of an application's segment."""
    start, end = place.start, place.stop
    if marker == _APP1 and encoded.startswith(_EXIF, start):
        found.orientation = read_orientation(encoded[start + len(_EXIF) : end])
        found.exifs += 1  # Pillow joins several
    elif marker == _APP1 and encoded.find(b"tiff:Orientation", start, end) >= 0:
        found.exifs += 2  # XMP counts where EXIF says nothing
    elif marker == _APP2 and encoded.startswith(_MULTI_PICTURE, start):
        found.multi_picture = True
