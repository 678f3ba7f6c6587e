"""Decode images of any supported format to 8-bit gray or RGB. No other module opens encoded images.

Formats: JPEG, MPO, PNG, BMP, GIF, TIFF, WEBP, AVIF and PPM, and with a further package HEIC and DICOM (`extras`), recognized
by their bytes and not by the file's name. These formats neither run programs nor refer to other files. EPS, WMF, SVG, PDF and
other formats are refused.

Limits: the header's width times height is compared with a limit before any pixel is decoded. A progressive JPEG may have at
most `MAX_SCANS` scans. Texts and color profiles of a PNG that Pillow refuses because of their size are ignored.

Conversion to ``L`` or ``RGB``:

- An animation is represented by its first frame, an MPO file by its first picture, a HEIC file by its primary picture, a TIFF
  by the largest of its first `MAX_PAGES` pages.
- CMYK and YCCK are converted by arithmetic. Color profiles are ignored.
- Gray and RGB samples of 16 bits keep the highest 8 bits of the data set's range (`Conversion.depth`). Samples with more
  than 16 bits are refused. Of 16-bit samples with an alpha channel, the highest 8 bits are kept.
- Transparent areas get the data set's background (`Conversion.background`), for an alpha channel, a palette or a single
  transparent color.
- 1-bit pixels become 0 or 255.
- The EXIF orientation is applied, or that of the properties of an AVIF or HEIC file. A damaged EXIF block is ignored.
- A DICOM image is shown through its own window, or that of the data set (`Conversion.window`), by the rules of `dicom`.
- Floating point, LAB, HSV and other modes are refused.

Gray and three-component JPEG is decoded by libjpeg-turbo at a reduced scale if that is sufficient. Pillow decodes all other
images, and every JPEG that libjpeg-turbo reports as damaged. The choice depends on the bytes alone. Therefore the same bytes
and settings always give the same pixels, in any number of threads.
"""

import io
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, UnidentifiedImageError

from visiongate.errors import DataError
from visiongate.images import colors, deep_colors, extras, jpeg
from visiongate.images.contents import UnsupportedContentError, identify
from visiongate.images.png import drop_descriptions
from visiongate.records.conversion import DEFAULT_CONVERSION, MAX_DEPTH, Conversion

Pixels = npt.NDArray[np.uint8]
# Width and height, in pixels.
Size = tuple[int, int]
# Left, upper, right, lower.
Box = tuple[float, float, float, float]
# From an image's size to the smallest size that a scaled decode must keep.
MinSize = Callable[[Size], Size]

Result = TypeVar("Result")

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "AVIF", "TIFF", "PPM")
MAX_PIXELS = 100_000_000
# Beyond it, Pillow refuses to read even the header.
MAX_PILLOW_PIXELS = 2 * 89_478_485
# Pages of a TIFF that are compared. A whole slide image has about ten.
MAX_PAGES = 64
# Encoders write about ten scans. Each scan costs a pass over the whole image.
MAX_SCANS = 64
MAX_MESSAGE = 200
_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_EXIF_KEYS = {"exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"}
_TRUNCATED = re.compile(
    r"truncat|\bEOF\b|unexpected end|premature end|not enough (image )?data|less than expected", re.IGNORECASE
)


class Fault(StrEnum):
    """The reason why an image cannot be used."""

    UNSUPPORTED_FORMAT = "unsupported_format"
    UNDECODABLE = "undecodable"
    TRUNCATED = "truncated"
    TOO_LARGE = "too_large"
    UNSUPPORTED_MODE = "unsupported_mode"


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """What decoding depends on besides the bytes.

    Attributes:
        conversion: How samples become 8-bit pixels, decided once for a data set.
        max_pixels: Largest allowed product of width and height. It protects memory and does not affect the pixels.
        extras: The `extras` that may open an image, if they are installed.
    """

    conversion: Conversion = DEFAULT_CONVERSION
    max_pixels: int = MAX_PIXELS
    extras: frozenset[str] = extras.ALL


DEFAULT_OPTIONS = DecodeOptions()


@dataclass(frozen=True, slots=True)
class StoredImage:
    """The header of an image file; None where unknown.

    Attributes:
        format: Pillow's name of the format.
        width: Stored width in pixels; of an upright TIFF or HEIC image.
        height: Stored height in pixels; of an upright TIFF or HEIC image.
        mode: Pillow's name of the stored color mode.
        animated: Whether the file has more than one frame.
    """

    format: str | None = None
    width: int | None = None
    height: int | None = None
    mode: str | None = None
    animated: bool = False


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """A decoded image, not yet upright, which may be smaller than the stored one.

    Attributes:
        image: Pixels in mode ``L`` or ``RGB``. Rounding up may have added padding to the right and below.
        size: Stored width and height in pixels.
        scale: Size of `image` relative to the stored size.
        orientation: EXIF orientation, 1 to 8.
        stored: The header.
    """

    image: Image.Image
    size: Size
    scale: float
    orientation: int
    stored: StoredImage

    def crop_box(self, left: float = 0, upper: float = 0) -> Box:
        """Return the box inside `image` that margins leave, without padding.

        Args:
            left: Left and right margin, in stored pixels.
            upper: Upper and lower margin, in stored pixels.
        """
        width, height = self.size
        box = (left, upper, width - left, height - upper)
        return tuple(edge * self.scale for edge in box)  # type: ignore[return-value]


class RefusedImageError(DataError):
    """An image cannot be used, because of `fault`. `stored` is the part of the header that could be read."""

    def __init__(self, fault: Fault, message: str, stored: StoredImage) -> None:
        super().__init__(message)
        self.fault = fault
        self.stored = stored


def decode(
    encoded: bytes, mode: str | None, min_size: MinSize, options: DecodeOptions = DEFAULT_OPTIONS
) -> DecodedImage:
    """Decode an image.

    Args:
        encoded: The image file's bytes.
        mode: ``L`` or ``RGB``; with None, ``L`` for a gray image and ``RGB`` for others.
        min_size: The size that a scaled decode must keep, given the stored size.
        options: The rules of conversion, and the limit of pixels.

    Raises:
        RefusedImageError: The file is no image of a supported format, or it is damaged, too large or of an unsupported mode.
    """

    def read(content: bytes) -> DecodedImage:
        image, stored = _open(content, options)
        scaled = _decode_jpeg(content, image, mode, min_size, stored)
        return scaled or _decode_with_pillow(content, image, mode, options.conversion, stored)

    return _read_repaired(encoded, read)


def load_stored(
    encoded: bytes, options: DecodeOptions, is_wanted: Callable[[Image.Image], bool]
) -> Image.Image | None:
    """Return an image as Pillow decodes it, without any conversion.

    Args:
        encoded: The image file's bytes.
        options: The limit of pixels, and the extras; the conversion is ignored.
        is_wanted: Decides by the header whether to decode the pixels.

    Returns:
        The image; None if it is not wanted.

    Raises:
        RefusedImageError: As `decode`.
    """

    def read(content: bytes) -> Image.Image | None:
        image, stored = _open(content, options)
        if not is_wanted(image):
            return None
        _load(content, image, stored)
        return image

    return _read_repaired(encoded, read)


def _read_repaired(encoded: bytes, read: Callable[[bytes], Result]) -> Result:
    """Read an image; if it is damaged, read it again without its texts and color profile."""
    try:
        return read(encoded)
    except RefusedImageError as error:
        repaired = drop_descriptions(encoded)
        if error.fault is not Fault.UNDECODABLE or len(repaired) == len(encoded):
            raise
    return read(repaired)


def turn_upright(image: Image.Image, orientation: int) -> Image.Image:
    """Apply an EXIF orientation, 1 to 8."""
    transposition = _TRANSPOSITIONS.get(orientation)
    return image if transposition is None else image.transpose(transposition)


def _open(encoded: bytes, options: DecodeOptions) -> tuple[Image.Image, StoredImage]:
    """Read the header and check it against the limits."""
    try:
        image = _identify(encoded, options)
        if image.format == "TIFF":
            _seek_largest_page(image)
        stored = _describe(image)
    except Image.DecompressionBombError:
        message = f"more than {MAX_PILLOW_PIXELS:,} pixels, which no setting allows; scale the image down"
        raise RefusedImageError(Fault.TOO_LARGE, message, StoredImage()) from None
    except UnidentifiedImageError:
        raise _refuse_unidentified(encoded) from None
    except UnsupportedContentError as error:
        raise RefusedImageError(Fault.UNSUPPORTED_FORMAT, str(error), StoredImage()) from None
    except Exception as error:  # noqa: BLE001 - on damaged bytes, Pillow raises exceptions of every kind
        raise _refuse(encoded, error, StoredImage()) from None
    _check_limits(encoded, image, stored, options.max_pixels)
    return image, stored


def _identify(encoded: bytes, options: DecodeOptions) -> Image.Image:
    """Open an image of a format that Pillow reads, or else of one that an extra reads."""
    try:
        return Image.open(io.BytesIO(encoded), formats=FORMATS)
    except UnidentifiedImageError:
        image = extras.open_extra(encoded, options.extras, options.conversion.window)
        if image is None:
            raise
        return image


def _check_limits(encoded: bytes, image: Image.Image, stored: StoredImage, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        message = f"{width} × {height} pixels, more than dataset.limits.max_pixels = {max_pixels:,}"
        raise RefusedImageError(Fault.TOO_LARGE, message, stored)
    # Coded pixels never contain the marker of a scan.
    scans = encoded.count(b"\xff\xda") if image.info.get("progressive") else 1
    if scans > MAX_SCANS:
        message = f"{scans} scans, more than the {MAX_SCANS} allowed; save the image again"
        raise RefusedImageError(Fault.UNDECODABLE, message, stored)
    if image.mode not in colors.SUPPORTED:
        message = f"color mode {image.mode} is not supported; save the image with 8 or 16 bits per sample"
        raise RefusedImageError(Fault.UNSUPPORTED_MODE, message, stored)


def _seek_largest_page(image: Image.Image) -> None:
    """Move to the picture of a TIFF: the first of its largest pages. Others are thumbnails, masks or further pictures."""
    sizes = [image.width * image.height]
    # After the last page, Pillow raises an EOFError; on a damaged page, exceptions of every kind.
    with suppress(Exception):
        for page in range(1, MAX_PAGES):
            image.seek(page)
            sizes.append(image.width * image.height)
    image.seek(sizes.index(max(sizes)))


def _describe(image: Image.Image) -> StoredImage:
    # Further pictures of an MPO or HEIC are previews or other views, and further pages of a TIFF no frames.
    may_move = image.format not in {"MPO", "TIFF", "HEIF"}
    animated = may_move and bool(getattr(image, "is_animated", False))
    return StoredImage(image.format, image.width, image.height, image.mode, animated)


def _decode_jpeg(
    encoded: bytes, image: Image.Image, mode: str | None, min_size: MinSize, stored: StoredImage
) -> DecodedImage | None:
    """Decode a gray or three-component JPEG with libjpeg-turbo; return None for other images and for a damaged one."""
    if image.format not in {"JPEG", "MPO"} or image.mode not in {"L", "RGB"}:
        return None
    eighths = jpeg.choose_scale(image.size, min_size(image.size))
    try:
        pixels = jpeg.decode(encoded, image.size, mode or image.mode, eighths)
    except jpeg.MissingPixelsError as error:
        raise RefusedImageError(Fault.TRUNCATED, str(error), stored) from None
    if pixels is None:
        return None
    scaled = Image.fromarray(pixels)
    return DecodedImage(scaled, image.size, eighths / jpeg.FULL, _read_orientation(image), stored)


def _decode_with_pillow(
    encoded: bytes, image: Image.Image, mode: str | None, conversion: Conversion, stored: StoredImage
) -> DecodedImage:
    low_bytes = None
    if conversion.depth < MAX_DEPTH and deep_colors.is_deep_color(image):
        low_bytes, _ = _open(encoded, DecodeOptions(max_pixels=image.width * image.height))
        deep_colors.swap_bytes(low_bytes)
        _load(encoded, low_bytes, stored)
    _load(encoded, image, stored)
    orientation, size = _read_orientation(image), image.size
    try:
        if low_bytes is not None:
            image = deep_colors.scale_colors(image, low_bytes, conversion.depth)
        flat = colors.flatten(image, mode or ("L" if image.mode in colors.GRAY else "RGB"), conversion)
    except Exception as error:  # noqa: BLE001 - on damaged bytes, Pillow raises exceptions of every kind
        message = f"color mode {image.mode}: {_one_line(error)}"
        raise RefusedImageError(Fault.UNSUPPORTED_MODE, message, stored) from None
    return DecodedImage(flat, size, 1.0, orientation, stored)


def _load(encoded: bytes, image: Image.Image, stored: StoredImage) -> None:
    """Decode the pixels as they are stored."""
    try:
        image.load()
    except Exception as error:  # noqa: BLE001 - on damaged bytes, Pillow raises exceptions of every kind
        raise _refuse(encoded, error, stored) from None


def _read_orientation(image: Image.Image) -> int:
    """Return the EXIF orientation; 1 if there is none or the EXIF block is damaged."""
    # libheif has turned a HEIC image upright.
    if image.format == "HEIF" or not _EXIF_KEYS.intersection(image.info):
        return 1
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # noqa: BLE001 - on damaged bytes, Pillow raises exceptions of every kind
        return 1
    return orientation if orientation in _TRANSPOSITIONS else 1


def _refuse(encoded: bytes, error: Exception, stored: StoredImage) -> RefusedImageError:
    fault = Fault.TRUNCATED if _is_truncated(encoded, error) else Fault.UNDECODABLE
    return RefusedImageError(fault, _one_line(error), stored)


def _refuse_unidentified(encoded: bytes) -> RefusedImageError:
    content = identify(encoded)
    if content is None:
        return RefusedImageError(Fault.UNDECODABLE, "the header is damaged", StoredImage())
    return RefusedImageError(Fault.UNSUPPORTED_FORMAT, str(content), StoredImage())


def _is_truncated(encoded: bytes, error: Exception) -> bool:
    # The header of a WEBP file states its length.
    if encoded.startswith(b"RIFF") and len(encoded) < int.from_bytes(encoded[4:8], "little") + 8:
        return True
    return _TRUNCATED.search(str(error)) is not None


def _one_line(error: Exception) -> str:
    message = re.sub(r" at 0x[0-9a-fA-F]+", "", " ".join(str(error).split()))
    return message[:MAX_MESSAGE] or type(error).__name__
