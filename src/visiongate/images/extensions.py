"""The image format that a file's extension claims, and the first bytes of a format."""

from pathlib import PurePosixPath

# By Pillow's name of the format. Formats from ICO on are never decoded; their extensions only expose misnamed files.
EXTENSIONS = {
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png", ".apng"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "AVIF": (".avif", ".avifs"),
    "HEIF": (".heic", ".heif", ".heics", ".heifs", ".hif"),
    "DICOM": (".dcm", ".dicom"),
    "ICO": (".ico", ".cur"),
    "JPEG2000": (".jp2", ".j2k", ".jpf", ".jpx"),
    "JXL": (".jxl",),
    "PSD": (".psd",),
    "SVG": (".svg", ".svgz"),
    "TGA": (".tga",),
}
# Formats that need a package, by its name in `dataset.extras`.
_EXTRAS = {"HEIF": "heic", "DICOM": "dicom"}
# An MPO is a JPEG with a second picture; cameras name it .jpg.
ALIASES = {"MPO": "JPEG"}
# The first bytes of JPEG, PNG, GIF, BMP and TIFF. PPM's two letters also start texts.
SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM", b"II*\0", b"MM\0*")
# ISO base media files name their brands after the first box's length and type.
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_AVIF_BRANDS = {b"avif", b"avis"}
MAX_BRANDS_END = 256
DICOM_PREAMBLE = 128
_DICOM_TYPES = {b"CS", b"DA", b"LO", b"OB", b"SH", b"TM", b"UI", b"UL"}
_FORMAT_OF = {extension: name for name, extensions in EXTENSIONS.items() for extension in extensions}


def extension_of(name: str) -> str:
    """Return the usual extension of a format by Pillow's name of it, without the dot; ``bin`` for an unknown one."""
    return EXTENSIONS.get(ALIASES.get(name, name), (".bin",))[0][1:]


def claimed_format(path: str) -> str | None:
    """Return Pillow's name of the format that a file's extension claims; None without an image extension."""
    return _FORMAT_OF.get(PurePosixPath(path).suffix.lower())


def claimed_extra(path: str) -> str | None:
    """Return the name in ``dataset.extras`` of the package that a file needs by its extension; None if it needs none."""
    return _EXTRAS.get(claimed_format(path) or "")


def is_misnamed(path: str, actual_format: str) -> bool:
    """Return whether a file's extension claims another format than its bytes have."""
    claimed = claimed_format(path)
    return claimed is not None and claimed != ALIASES.get(actual_format, actual_format)


def has_image_signature(content: bytes) -> bool:
    """Return whether bytes start like an image of a format that is decoded."""
    is_riff = content.startswith(b"RIFF") and content[8:12] == b"WEBP"
    is_media = is_avif(content) or is_heic(content)
    return is_riff or is_media or content.startswith(SIGNATURES) or is_dicom(content)


def is_avif(content: bytes) -> bool:
    """Return whether bytes start like an AVIF image."""
    return content[4:8] == b"ftyp" and any(brand in _AVIF_BRANDS for brand in _list_brands(content))


def is_heic(content: bytes) -> bool:
    """Return whether bytes start like a HEIF image that is not AVIF, such as HEIC."""
    is_heif = content[4:8] == b"ftyp" and any(brand in _HEIF_BRANDS for brand in _list_brands(content))
    return is_heif and not is_avif(content)


def is_dicom(content: bytes) -> bool:
    """Return whether bytes start like a DICOM file, with its preamble or, as old devices write it, without."""
    if content[DICOM_PREAMBLE : DICOM_PREAMBLE + 4] == b"DICM":
        return True
    # The first element of group 2 or 8: its group, its number below 0x20, and a type of two letters or a length below 256.
    group, number, kind = content[:2], content[2:4], content[4:8]
    if group not in {b"\2\0", b"\x08\0"} or len(kind) < len(b"type") or number[1] or number[0] >= 0x20:  # noqa: PLR2004
        return False
    return kind[:2] in _DICOM_TYPES or (kind[0] > 0 and not any(kind[1:]))


def _list_brands(content: bytes) -> list[bytes]:
    """Return the brands of an ISO base media file: the main one, and those that it is compatible with."""
    end = min(int.from_bytes(content[:4], "big"), MAX_BRANDS_END)
    return [content[8:12], *(content[start : start + 4] for start in range(16, end, 4))]
