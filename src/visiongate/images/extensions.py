"""What a file's name says of its format."""

from pathlib import PurePosixPath

CLAIMS = {
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png", ".apng"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    # None of these is opened: what bears their names is something else.
    "AVIF": (".avif", ".avifs"),
    "HEIF": (".heic", ".heif"),
    "ICO": (".ico", ".cur"),
    "JPEG2000": (".jp2", ".j2k", ".jpf", ".jpx"),
    "PSD": (".psd",),
    "SVG": (".svg", ".svgz"),
    "TGA": (".tga",),
}
SAME = {"MPO": "JPEG"}  # a camera's JPEG with a second picture behind the first
_FORMAT_OF = {extension: name for name, extensions in CLAIMS.items() for extension in extensions}


def claimed_format(path: str) -> str | None:
    """Tell the format that a file's extension claims, as Pillow names it.

    A name without an extension, or with one that is no image format's, claims nothing: ``scan.0001`` is judged by its bytes.
    """
    return _FORMAT_OF.get(PurePosixPath(path).suffix.lower())


def is_misnamed(path: str, found: str) -> bool:
    """Tell whether a file's extension claims another format than its bytes have."""
    claimed = claimed_format(path)
    return claimed is not None and claimed != SAME.get(found, found)
