"""Find the image that a person names: by content hash, by its path in the source, or by a file."""

import re
from dataclasses import dataclass
from pathlib import Path

from visiongate.errors import DataError
from visiongate.images.table import read_table
from visiongate.records.files import sha256_of
from visiongate.settings.overrides import suggest

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class NamedImage:
    """An image of the raw table."""

    sha256: str
    path: str
    label: str


def find_image(text: str, raw: Path) -> NamedImage:
    """Find an image of the raw table.

    Args:
        text: A sha256, a path in the source or its end, or a file with the same bytes.
        raw: The folder of the raw table.

    Raises:
        DataError: The table does not have the image, or several images fit.
    """
    table = read_table(raw, ["sha256", "path", "label"])
    images = [NamedImage(**row) for row in table.to_pylist()]
    exact = [image for image in images if text in {image.sha256, image.path}]
    if not exact and Path(text).is_file():
        sha256 = sha256_of(Path(text))
        exact = [image for image in images if image.sha256 == sha256]
    found = exact or [image for image in images if image.path.endswith(f"/{text}")]
    if not found:
        paths = [image.path for image in images]
        raise DataError(
            f"{text}: no image of the data has this sha256, path or content{suggest(text, paths)}"
        )
    if len({image.sha256 for image in found}) > 1:
        raise DataError(
            f"{text}: several images have this name: {found[0].path}, {found[1].path}; name one of them"
        )
    return found[0]


def is_sha256(text: str) -> bool:
    """Return whether a text is a content hash."""
    return bool(_SHA256.fullmatch(text))
