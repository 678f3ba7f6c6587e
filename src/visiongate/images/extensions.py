"""The image format that a file's extension claims."""

from pathlib import PurePosixPath

# By Pillow's name of the format. Formats from HEIF on are never decoded; their extensions only expose misnamed files.
EXTENSIONS = {
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png", ".apng"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "AVIF": (".avif", ".avifs"),
    "HEIF": (".heic", ".heif"),
    "DICOM": (".dcm", ".dicom"),
    "ICO": (".ico", ".cur"),
    "JPEG2000": (".jp2", ".j2k", ".jpf", ".jpx"),
    "JXL": (".jxl",),
    "PSD": (".psd",),
    "SVG": (".svg", ".svgz"),
    "TGA": (".tga",),
}
# An MPO is a JPEG with a second picture; cameras name it .jpg.
ALIASES = {"MPO": "JPEG"}
# The first bytes of JPEG, PNG, GIF, BMP and TIFF. PPM's two letters also start texts.
SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM", b"II*\0", b"MM\0*")
_FORMAT_OF = {extension: name for name, extensions in EXTENSIONS.items() for extension in extensions}


def claimed_format(path: str) -> str | None:
    """Return Pillow's name of the format that a file's extension claims; None without an image extension."""
    return _FORMAT_OF.get(PurePosixPath(path).suffix.lower())


def is_misnamed(path: str, actual_format: str) -> bool:
    """Return whether a file's extension claims another format than its bytes have."""
    claimed = claimed_format(path)
    return claimed is not None and claimed != ALIASES.get(actual_format, actual_format)


def has_image_signature(content: bytes) -> bool:
    """Return whether bytes start like an image of a format that is decoded."""
    is_riff = content.startswith(b"RIFF") and content[8:12] == b"WEBP"
    return is_riff or content.startswith(SIGNATURES)
