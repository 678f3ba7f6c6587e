"""From encoded bytes to pixels: the one place that opens images, whoever made them.

What is opened: JPEG, MPO, PNG, BMP, GIF, TIFF, WEBP and PPM by their bytes, whatever the file's name. None of these runs a
program or refers to another file; EPS, WMF, SVG, PDF and the rest are not tried.

What an image may cost: its width times height is read from the header and compared with a limit before a pixel is decoded; a
JPEG may have `jpeg.MAX_SCANS` scans; a TIFF's tiles are under the limit as the image is; of an animation no frame after the
second is looked at; Pillow bounds what compressed text and profiles in a PNG may grow to. Pillow's own limit on pixels holds
for a whole process: it is neither relied upon nor, but while an image over it is opened that ours allows, changed.

How each kind becomes 8-bit ``L`` or ``RGB``:

- An animation counts as its first frame and an MPO as its first picture; `StoredImage.animated` states the former.
- CMYK and YCCK become RGB by Pillow's plain arithmetic, Adobe's inverted values put right; no color profile is applied.
- Of 16 bits, also where Pillow has them as 32-bit integers, the high byte is taken. More than 16 bits is refused.
- Transparency, be it an alpha channel, a palette's or one color's, is laid over white.
- A pixel of one bit is 0 or 255.
- The image is turned as its EXIF block says; a damaged block is ignored.
- Floating point, LAB, HSV and whatever else is left is refused.

JPEG but for CMYK and YCCK is decoded by `jpeg.decode` at the scale that the result needs, or, where that finds any damage, by
Pillow, which puts up with superfluous bytes between segments, as some cameras write them. Where pixels are missing, the file
is refused as truncated. Which way is taken depends on the bytes alone, so the same bytes and settings give the same pixels, to
the bit, in any order and any number of threads. libtiff may write to standard error, past Python; nothing else does.
"""

import io
import math
import re
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial

import numpy as np
import numpy.typing as npt
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from visiongate.errors import DataError
from visiongate.images import colors, jpeg

Pixels = npt.NDArray[np.uint8]
Size = tuple[int, int]  # width and height
Fit = Callable[[Size], Size]  # from an image's size to what it needs to keep
Box = tuple[float, float, float, float]  # left, upper, right, lower

MAX_PIXELS = 100_000_000  # width times height of one image, where nothing else is said
LONGEST = 200  # characters of a decoder's message
REDUCING_GAP = 3.0  # whole pixels are averaged first, down to three times the final size, as Pillow has it

# Naming the plugins imports them, so that Pillow need not import all it has when it first meets a TIFF. JPEG's opens MPO too.
FORMATS = tuple(
    plugin.format
    for plugin in (
        JpegImagePlugin.JpegImageFile,
        PngImagePlugin.PngImageFile,
        GifImagePlugin.GifImageFile,
        BmpImagePlugin.BmpImageFile,
        WebPImagePlugin.WebPImageFile,
        TiffImagePlugin.TiffImageFile,
        PpmImagePlugin.PpmImageFile,
    )
)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_EXIF_KEYS = {"exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"}
_CUT_SHORT = re.compile(
    r"truncat|\bEOF\b|unexpected end|premature end|not enough (image )?data", re.IGNORECASE
)
_TIFF_PLACES = ((273, 279), (324, 325))  # tags of offsets and lengths in bytes: of strips, of tiles
_TIFF_TILE = (322, 323)  # tags of a tile's width and height


class Fault(StrEnum):
    """Why an image cannot be used, as far as its bytes tell."""

    UNDECODABLE = "undecodable"  # no image, or damaged
    TRUNCATED = "truncated"  # an image whose end is missing
    TOO_LARGE = "too_large"  # more pixels, or more passes over them, than the limit
    UNSUPPORTED_MODE = "unsupported_mode"  # colors that no rule turns into gray or RGB


@dataclass(frozen=True, slots=True)
class StoredImage:
    """What an image file's header states; None where unknown.

    Attributes:
        format: Pillow's name of the format, from the bytes alone.
        width: In pixels, as stored; for a TIFF, upright.
        height: In pixels, as stored; for a TIFF, upright.
        mode: Pillow's name of the color mode, as stored.
        animated: Whether the file has more than one frame.
    """

    format: str | None = None
    width: int | None = None
    height: int | None = None
    mode: str | None = None
    animated: bool = False


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """An image in the mode asked for, maybe scaled down, and not yet turned."""

    image: Image.Image
    size: Size  # pixels, as stored, before any scaling
    scale: float  # of the image to that; what its size adds by rounding up is padding
    orientation: int  # EXIF's
    stored: StoredImage  # what was read on the way

    def box(self, left: float = 0, upper: float = 0) -> Box:
        """Return where in the image lies what margins in pixels as stored, the same at both ends, leave of it."""
        width, height = self.size
        return (
            left * self.scale,
            upper * self.scale,
            (width - left) * self.scale,
            (height - upper) * self.scale,
        )


class RefusedImageError(DataError):
    """An image cannot be used. `fault` states why, and `stored` what its header states."""

    def __init__(self, fault: Fault, message: str, stored: StoredImage) -> None:
        super().__init__(message)
        self.fault = fault
        self.stored = stored


class _Silence:
    """Warnings of Pillow's are ignored while any thread is inside; Python's filters are a process's, not a thread's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._filters = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._filters.__exit__(None, None, None)


SILENCE = _Silence()
_LIFTING = threading.Lock()  # Pillow's limit, too, is a process's


def to_pixels(encoded: bytes, size: int, mode: str, resize: str, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Decode and resize to the pixels a network sees: the same function for training, evaluation and serving.

    Args:
        encoded: The image file's bytes.
        size: Both sides of the result, in pixels.
        mode: ``L`` or ``RGB``.
        resize: ``stretch`` ignores the aspect, ``center-crop`` cuts the longer side, ``letterbox`` pads the shorter with black.
        max_pixels: Width times height that an image may have. No part of the preprocessing, for it changes no pixel: a server
            chooses it by the memory it has.

    Returns:
        uint8, ``size`` × ``size`` × channels, read-only.

    Raises:
        DataError: The image is refused: exactly where `measurement.measure` reports a fault.
    """
    fit: Fit = partial(_contain, size) if resize == "letterbox" else lambda _: (size, size)
    decoded = decode(encoded, mode, fit, max_pixels)
    box = _center(decoded) if resize == "center-crop" else decoded.box()
    image = turn_upright(_resize(decoded.image, fit(decoded.size), box), decoded.orientation)
    return np.asarray(_pad(image, size), dtype=np.uint8).reshape(size, size, -1)


def thumbnail(encoded: bytes, side: int, max_pixels: int = MAX_PIXELS) -> bytes:
    """Make a small PNG of an image, upright, gray where the image is, with neither side over ``side`` and never enlarged.

    Raises:
        DataError: As `to_pixels`.
    """
    decoded = decode(encoded, None, partial(_contain, side), max_pixels)
    target = decoded.size if max(decoded.size) <= side else _contain(side, decoded.size)
    buffer = io.BytesIO()
    small = _resize(decoded.image, target, decoded.box())
    turn_upright(small, decoded.orientation).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def open_image(encoded: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode an image whole by Pillow, in its own size and mode, so that a truncated file fails here and not later.

    Raises:
        DataError: As `to_pixels`.
    """
    return _load(encoded, max_pixels)[0]


def stored_size(encoded: bytes) -> Size:
    """Read width and height, as stored, from the header of an image that can be decoded."""
    header = jpeg.read_header(encoded)
    if header is not None:
        return header.width, header.height
    with _LIFTING, SILENCE:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(io.BytesIO(encoded), formats=FORMATS).size
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def decode(encoded: bytes, mode: str | None, fit: Fit, max_pixels: int) -> DecodedImage:
    """Decode by the way that suits the bytes.

    Args:
        encoded: The image file's bytes.
        mode: ``L`` or ``RGB``; None for ``L`` where the image is gray and ``RGB`` where not.
        fit: What width and height an image of this width and height must keep.
        max_pixels: As in `to_pixels`.
    """
    header = jpeg.read_header(encoded)
    if header is not None:
        decoded = _decode_jpeg(encoded, header, mode, fit, max_pixels)
        if decoded is not None:
            return decoded
    image, stored = _load(encoded, max_pixels, fit)
    orientation = _read_orientation(image)
    size, scale = _undraft(image, stored)
    try:
        flat = colors.flatten(image, mode or ("L" if image.mode in colors.GRAY else "RGB"))
    except Exception as error:  # noqa: BLE001 - of the many ways to convert, each fails in its own
        raise RefusedImageError(
            Fault.UNSUPPORTED_MODE, f"mode {image.mode}: {_tell(error)}", stored
        ) from None
    return DecodedImage(flat, size, scale, orientation, stored)


def _decode_jpeg(
    encoded: bytes, header: jpeg.Header, mode: str | None, fit: Fit, max_pixels: int
) -> DecodedImage | None:
    """Decode a JPEG of the usual kind; None where Pillow has to try."""
    size = header.width, header.height
    stored = StoredImage(format="JPEG", width=header.width, height=header.height, mode=header.mode)
    _check_cost(size, header.scans, max_pixels, stored)
    eighths = jpeg.choose_scale(size, fit(size))
    try:
        pixels = jpeg.decode(encoded, header, mode or header.mode, eighths)
    except jpeg.MissingPixelsError as error:
        raise RefusedImageError(Fault.TRUNCATED, _tell(error), stored) from None
    if pixels is None:
        return None
    orientation = header.orientation
    if orientation is None or header.multi_picture:
        kind, orientation = _look_closer(encoded)
        stored = replace(stored, format=kind)
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    return DecodedImage(image, size, eighths / jpeg.WHOLE, orientation, stored)


def _undraft(image: Image.Image, stored: StoredImage) -> tuple[Size, float]:
    """Return an image's size as stored, and at what scale Pillow drafted it: a JPEG by halves, up to three, rounded up."""
    if image.format not in {"JPEG", "MPO"} or stored.width is None or stored.height is None:
        return image.size, 1.0
    factors = (
        factor for factor in (1, 2, 4) if -(-max(stored.width, stored.height) // factor) == max(image.size)
    )
    return (stored.width, stored.height), 1 / next(factors, 8)


def _look_closer(encoded: bytes) -> tuple[str | None, int]:
    """Ask Pillow for format and orientation of a JPEG that has more in its header than the usual."""
    try:
        with SILENCE:
            image = Image.open(io.BytesIO(encoded), formats=FORMATS)
            return image.format, _read_orientation(image)
    except Exception:  # noqa: BLE001 - damaged bytes make Pillow raise of every kind
        return "JPEG", 1


def _read_orientation(image: Image.Image) -> int:
    """Return EXIF's orientation, 1 to 8; where the block is damaged or tells none, 1."""
    if not _EXIF_KEYS.intersection(image.info):
        return 1
    try:
        with SILENCE:
            orientation = image.getexif().get(jpeg.ORIENTATION)
    except Exception:  # noqa: BLE001 - as above
        return 1
    return orientation if orientation in _TURNS else 1


def _load(encoded: bytes, max_pixels: int, fit: Fit | None = None) -> tuple[Image.Image, StoredImage]:
    """Decode by Pillow; with ``fit``, a JPEG by halves no further down than that.

    Returns:
        The image in its own mode, and what is known of it but for its levels.
    """
    try:
        return _load_limited(encoded, max_pixels, fit)
    except Image.DecompressionBombError:
        # Pillow's own limit. Decoders of WEBP claim memory for all pixels with the header: those are not tried again
        # unless ours is the higher limit.
        if encoded.startswith(b"RIFF") and max_pixels <= 2 * (Image.MAX_IMAGE_PIXELS or math.inf):
            message = f"more than the {max_pixels:,} pixels allowed"
            raise RefusedImageError(Fault.TOO_LARGE, message, StoredImage(format="WEBP")) from None
    with _LIFTING:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return _load_limited(encoded, max_pixels, fit)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _load_limited(encoded: bytes, max_pixels: int, fit: Fit | None) -> tuple[Image.Image, StoredImage]:
    known = StoredImage()
    _check_cost((0, 0), jpeg.count_scans(encoded), max_pixels, StoredImage(format="JPEG"))
    try:
        with SILENCE:
            image = Image.open(io.BytesIO(encoded), formats=FORMATS)
            known = _describe(image)
            _check(image, known, max_pixels)
            if fit is not None:
                image.draft(None, fit(image.size))
            image.load()
    except (RefusedImageError, Image.DecompressionBombError):
        raise
    except Exception as error:  # noqa: BLE001 - damaged bytes make Pillow raise of every kind
        fault = Fault.TRUNCATED if _is_cut_short(encoded, error) else Fault.UNDECODABLE
        raise RefusedImageError(fault, _tell(error), known) from None
    return image, known


def _describe(image: ImageFile.ImageFile) -> StoredImage:
    """Say what the header of an image tells; of further frames only whether there is one is looked at."""
    animated = image.format != "MPO" and bool(getattr(image, "is_animated", False))
    width, height = image.size
    known = (image.format, width, height, image.mode, animated)
    return StoredImage(*known)


def _check(image: ImageFile.ImageFile, known: StoredImage, max_pixels: int) -> None:
    """Refuse by the header what costs too much or has a mode without a rule."""
    _check_cost(image.size, 1, max_pixels, known)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        tile = [image.tag_v2.get(tag, 1) for tag in _TIFF_TILE]
        _check_cost((int(tile[0]), int(tile[1])), 1, max_pixels, known)
    if image.mode not in colors.SUPPORTED:
        raise RefusedImageError(Fault.UNSUPPORTED_MODE, f"mode {image.mode} has no rule to convert it", known)


def _check_cost(size: Size, scans: int, max_pixels: int, known: StoredImage) -> None:
    pixels = size[0] * size[1]
    if pixels > max_pixels:
        message = f"{size[0]} × {size[1]} pixels, over the {max_pixels:,} allowed"
        raise RefusedImageError(Fault.TOO_LARGE, message, known)
    if scans > jpeg.MAX_SCANS:
        message = f"{scans} scans, over the {jpeg.MAX_SCANS} allowed"
        raise RefusedImageError(Fault.TOO_LARGE, message, known)


def _tell(error: Exception) -> str:
    """Put a decoder's message on one line that is the same every time."""
    if isinstance(error, UnidentifiedImageError):  # its message holds a memory address
        return "not an image of a known format"
    message = re.sub(r" at 0x[0-9a-fA-F]+", "", " ".join(str(error).split()))
    return message[:LONGEST] or type(error).__name__


def _is_cut_short(encoded: bytes, error: Exception) -> bool:
    """Tell whether an image that did not decode lacks its end."""
    if _CUT_SHORT.search(str(error)):
        return True
    if encoded.startswith(b"RIFF"):  # says how long it is
        return len(encoded) < int.from_bytes(encoded[4:8], "little") + 8
    source = _WatchedBytes(encoded)
    with suppress(Exception), SILENCE:
        image = Image.open(source, formats=FORMATS)
        if isinstance(image, TiffImagePlugin.TiffImageFile) and _needed_bytes(image) > len(encoded):
            return True
    return source.ran_out and _is_signed(encoded)


class _WatchedBytes(io.BytesIO):
    """Bytes that remember whether more was asked of them than they have."""

    ran_out = False

    def read(self, size: int | None = -1, /) -> bytes:
        found = super().read(size)
        self.ran_out |= size is not None and len(found) < size
        return found


def _is_signed(encoded: bytes) -> bool:
    """Tell whether bytes start as one of the formats does."""
    accepts = (Image.OPEN[name][1] for name in FORMATS)
    return any(accept is not None and accept(encoded[:16]) is True for accept in accepts)


def _needed_bytes(image: TiffImagePlugin.TiffImageFile) -> int:
    """Return how long a TIFF must be to hold all of its strips or tiles."""
    ends = [
        start + length
        for places, lengths in _TIFF_PLACES
        for start, length in zip(image.tag_v2.get(places, ()), image.tag_v2.get(lengths, ()), strict=False)
    ]
    return max(ends, default=0)


def _contain(side: int, size: Size) -> Size:
    """Return the size that fits into a square, a side filling it, and none vanishing."""
    longest = max(size)
    return max(1, round(size[0] / longest * side)), max(1, round(size[1] / longest * side))


def _center(decoded: DecodedImage) -> Box:
    """Return the square in the middle."""
    width, height = decoded.size
    side = min(width, height)
    return decoded.box((width - side) / 2, (height - side) / 2)


def _resize(image: Image.Image, target: Size, box: Box) -> Image.Image:
    if image.size == target and box == (0.0, 0.0, float(target[0]), float(target[1])):
        return image
    return image.resize(target, Image.Resampling.BILINEAR, box, reducing_gap=REDUCING_GAP)


def turn_upright(image: Image.Image, orientation: int) -> Image.Image:
    """Turn an image upright; on the small result rather than on what was decoded."""
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def _pad(image: Image.Image, size: int) -> Image.Image:
    """Put an image into the middle of a black square."""
    if image.size == (size, size):
        return image
    square = Image.new(image.mode, (size, size))
    square.paste(image, (round((size - image.width) * 0.5), round((size - image.height) * 0.5)))
    return square
