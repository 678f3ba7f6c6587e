"""Formats that need a further package: HEIC and DICOM. The package is imported when the first such image is opened.

``dataset.extras`` lists the extras that a data set uses, so that its images do not depend on what is installed.
"""

from collections.abc import Collection, Iterable
from importlib.util import find_spec

from PIL import Image

from visiongate.errors import SettingsError
from visiongate.images.extensions import is_dicom, is_heic

# Each extra of the package with the module that it installs.
MODULES = {"heic": "pillow_heif", "dicom": "pydicom"}
ALL = frozenset(MODULES)


def check_installed(extras: Iterable[str]) -> None:
    """Check that the packages of extras are installed.

    Raises:
        SettingsError: One is missing.
    """
    missing = [name for name in sorted(extras) if not is_installed(name)]
    if missing:
        names = ",".join(missing)
        raise SettingsError(
            f"dataset.extras = [{', '.join(sorted(extras))}]: a package is missing; run: pip install 'visiongate[{names}]'"
        )


def name_extra(encoded: bytes) -> str | None:
    """Return the extra that opens an image; None for other files."""
    if is_heic(encoded):
        return "heic"
    return "dicom" if is_dicom(encoded) else None


def open_extra(
    encoded: bytes, extras: Collection[str], window: tuple[float, float] | None
) -> Image.Image | None:
    """Open an image by an extra; its pixels are decoded later.

    Args:
        encoded: The image file's bytes.
        extras: The extras that may be used.
        window: Center and width of the values of a DICOM image; None for those that the file states.

    Returns:
        The image, upright; None if it needs no extra, or one that is not installed or not among ``extras``.

    Raises:
        Exception: The header is damaged, of any class.
    """
    name = name_extra(encoded)
    if name is None or name not in extras or not is_installed(name):
        return None
    if name == "heic":
        from visiongate.images.heic import open_heic  # noqa: PLC0415 - optional

        return open_heic(encoded)
    from visiongate.images.dicom import open_dicom  # noqa: PLC0415 - optional

    return open_dicom(encoded, window)


def is_installed(name: str) -> bool:
    """Return whether the package of an extra is installed."""
    return find_spec(MODULES[name]) is not None
