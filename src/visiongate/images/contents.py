"""What a file is that is not an image of a supported format, and how to get an image from it."""

import json
from dataclasses import dataclass

from visiongate.images.extensions import is_avif, is_dicom, is_heic

# Bytes at the start of a file that identify it.
HEAD = 1024


@dataclass(frozen=True, slots=True)
class Content:
    """A kind of file.

    Attributes:
        name: The kind, such as ``HTML page``.
        advice: What to do about such files.
        command: A shell command that does it, to run in the folder of the images; empty if there is none.
        is_image: Whether it is an image, of an unsupported format.
    """

    name: str
    advice: str
    command: str = ""
    is_image: bool = False

    def __str__(self) -> str:
        """Return all of it in one line."""
        return f"{self.name}; {self.advice}" + (f": {self.command}" if self.command else "")


class UnsupportedContentError(Exception):
    """A file of a supported format is of a kind that cannot be decoded."""

    def __init__(self, content: Content) -> None:
        super().__init__(str(content))


def _convert(name: str, pattern: str, target: str, extra: str = "") -> Content:
    """Return a kind that ImageMagick converts, or an extra opens; ``pattern`` is that of ``find -iname``."""
    command = f"find . -iname '{pattern}' -exec magick mogrify -format {target} {{}} +"
    install = f"run pip install 'visiongate[{extra}]' and set dataset.extras=[{extra}], or " if extra else ""
    return Content(name, f"{install}convert such files and remove the originals", command, is_image=True)


_AGAIN = "download or copy such files again"
_REMOVE = "remove such files"
_HEIC = _convert("HEIC image", "*.hei[cf]", "jpg", "heic")
_JPEG_2000 = _convert("JPEG 2000 image", "*.j[p2][2kfx]", "png")
_JPEG_XL = _convert("JPEG XL image", "*.jxl", "png")
_PHOTOSHOP = _convert("Photoshop file", "*.psd", "png")
_ICON = _convert("Windows icon", "*.ico", "png")
_SVG = _convert("SVG drawing", "*.svg", "png")
_DICOM = _convert("DICOM image", "*.dcm", "png", "dicom")
DICOM_WITHOUT_IMAGE = Content("DICOM file without an image", _REMOVE)
COMPRESSED_DICOM = Content(
    "DICOM image with a rare compression",
    "decompress it, or install decoders and check the images again",
    "pip install pylibjpeg pylibjpeg-libjpeg pyjpegls && dvc repro --force --single-item validation",
)
_PDF = Content("PDF document", f"extract its pages with pdftoppm, or {_REMOVE}")
_VIDEO = Content("video", f"extract frames with ffmpeg, or {_REMOVE}")
_ARCHIVE = Content("archive", "extract it, so that its images are files of their own, and remove it")
_POSTSCRIPT = Content("PostScript file", _REMOVE)
_EMPTY = Content("empty file", _AGAIN)
_ZEROS = Content("file of zeros", _AGAIN)
_LFS = Content("Git LFS pointer", "fetch the images in their repository", "git lfs pull")
_HTML = Content("HTML page", f"{_AGAIN}, because the server sent a page instead of an image")
_XML = Content("XML file", _REMOVE)
_JSON = Content("JSON file", _REMOVE)
_MACOS = Content("macOS resource file", _REMOVE)
_NUMPY = Content("NumPy array", "save each image as a PNG file")
_TEXT = Content("text file", _REMOVE)
_UNKNOWN = Content("file of an unknown format", _AGAIN)

_SIGNATURES = {
    b"%PDF-": _PDF,
    b"8BPS": _PHOTOSHOP,
    b"\x00\x00\x01\x00": _ICON,
    b"PK\x03\x04": _ARCHIVE,
    b"\x1f\x8b": _ARCHIVE,
    b"BZh": _ARCHIVE,
    b"\xfd7zXZ\x00": _ARCHIVE,
    b"7z\xbc\xaf\x27\x1c": _ARCHIVE,
    b"Rar!": _ARCHIVE,
    b"%!PS": _POSTSCRIPT,
    b"\x00\x00\x00\x0cjP  ": _JPEG_2000,
    b"\xff\x4f\xff\x51": _JPEG_2000,
    b"\x00\x00\x00\x0cJXL ": _JPEG_XL,
    b"\xff\x0a": _JPEG_XL,
    b"\x00\x05\x16\x07": _MACOS,
    b"\x93NUMPY": _NUMPY,
}
# Of the supported formats. That of PPM is two letters, which a text may start with, too.
_SUPPORTED = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_TEXTS = {
    "version https://git-lfs": _LFS,
    "<!doctype html": _HTML,
    "<html": _HTML,
    "<svg": _SVG,
    "<!doctype svg": _SVG,
    "<?xml": _XML,
}


_KINDS = (
    *(
        _HEIC,
        _JPEG_2000,
        _JPEG_XL,
        _PHOTOSHOP,
        _ICON,
        _SVG,
        _DICOM,
        COMPRESSED_DICOM,
        DICOM_WITHOUT_IMAGE,
        _PDF,
        _VIDEO,
        _ARCHIVE,
        _POSTSCRIPT,
        _EMPTY,
    ),
    *(_ZEROS, _LFS, _HTML, _XML, _JSON, _MACOS, _NUMPY, _TEXT, _UNKNOWN),
)
# From the line that describes a kind, as a measurement records it.
BY_LINE = {str(content): content for content in _KINDS}


def identify(encoded: bytes) -> Content | None:
    """Return what kind of file this is, from its bytes alone; None for a supported image, even a damaged one."""
    if not encoded:
        return _EMPTY
    head = encoded[:HEAD]
    if _is_supported(head):
        return None
    if not head.strip(b"\0"):
        return _ZEROS
    if head[4:8] == b"ftyp":
        return _identify_media(head)
    if is_dicom(head):
        return _DICOM
    signed = (content for signature, content in _SIGNATURES.items() if head.startswith(signature))
    return next(signed, None) or _identify_text(encoded)


def _is_supported(head: bytes) -> bool:
    is_webp = head.startswith(b"RIFF") and head[8:12] == b"WEBP"
    is_bmp = head.startswith(b"BM") and head[6:10] == bytes(4)
    return is_webp or is_bmp or head.startswith(_SUPPORTED)


def _identify_media(head: bytes) -> Content | None:
    if is_avif(head):
        return None
    return _HEIC if is_heic(head) else _VIDEO


def _identify_text(encoded: bytes) -> Content:
    # The cut may be within a character.
    text = encoded[:HEAD].decode("utf-8-sig", "ignore").lstrip()
    start = text.lower()
    if start.startswith("<?xml") and "<svg" in start:
        return _SVG
    found = next((content for prefix, content in _TEXTS.items() if start.startswith(prefix)), None)
    if found:
        return found
    if text.startswith(("{", "[")) and _is_json(encoded):
        return _JSON
    return _TEXT if _is_text(encoded[:HEAD]) else _UNKNOWN


def _is_json(encoded: bytes) -> bool:
    try:
        json.loads(encoded)
    except (ValueError, RecursionError):
        return False
    return True


def _is_text(head: bytes) -> bool:
    printable = all(byte >= ord(" ") or byte in b"\t\n\r\f" for byte in head)
    try:
        head[: len(head) - 3 if len(head) == HEAD else len(head)].decode("utf-8")
    except UnicodeDecodeError as error:
        # Only a character that the cut divides may be incomplete.
        return printable and len(head) == HEAD and error.start >= HEAD - 6
    return printable
