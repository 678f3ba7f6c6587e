"""``data/collected.csv``: the images of the service whose true class people told, by content hash.

Git tracks the table, and DVC the folder of the images. The table decides: an image without a row is not read. An image has one
row at most.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from visiongate.errors import DataError
from visiongate.records.collected_paths import collected_file, collected_path
from visiongate.records.files import write_csv
from visiongate.records.shared_tables import find_hash_problem, parse_shared, read_shared, writing

COLUMNS = (
    "sha256",
    "label",
    "extension",
    "predicted",
    "confidence",
    "model",
    "version",
    "asked",
    "given_by",
    "time",
    "dataset",
    "group",
)
ASKED = "yes"
_EXTENSION = re.compile(r"[a-z0-9]{1,8}")


@dataclass(frozen=True, slots=True)
class CollectedImage:
    """An image of the service, and what people said about it.

    Attributes:
        sha256: Of the encoded file.
        label: The true class.
        extension: Of the file, without the dot.
        predicted: The class that the service answered.
        confidence: The probability of that class.
        model: The name of the model that answered.
        version: Of the model; empty for a file without a registry.
        asked: Whether the service asked for the class, of a random share of its answers. Otherwise somebody volunteered it.
        given_by: The names of the API keys that sent the label; empty without keys.
        time: When the label was given, an ISO time in UTC.
        dataset: The name of the data set that the image belongs to.
        group: Name of images that must stay in one split, such as a patient; None if there is none.
    """

    sha256: str
    label: str
    extension: str
    predicted: str = ""
    confidence: float = 0.0
    model: str = ""
    version: str = ""
    asked: bool = False
    given_by: str = ""
    time: str = ""
    dataset: str = ""
    group: str | None = None

    @property
    def file(self) -> str:
        """The path in the folder of the collected images."""
        return collected_file(self.sha256, self.extension)

    @property
    def path(self) -> str:
        """The path in the image table."""
        return collected_path(self.sha256, self.extension)


def read_collected(path: Path) -> dict[str, CollectedImage]:
    """Read the collected images by sha256, in the order of the file.

    Raises:
        DataError: The file cannot be read, or a line is invalid or contradicts another one.
    """
    return parse_collected(read_shared(path), str(path))


def parse_collected(content: bytes, source: str = "collected.csv") -> dict[str, CollectedImage]:
    """Parse the content of a ``collected.csv``, such as that of another revision.

    Args:
        content: UTF-8 text.
        source: The file's name, for the error message.

    Raises:
        DataError: A line is invalid, not UTF-8, or contradicts another one; the message has the number of the line.
    """
    return parse_shared(content, source, COLUMNS, _parse_row, _contradict)


def change_collected(
    path: Path, add: Iterable[CollectedImage] = (), remove: Iterable[str] = ()
) -> Mapping[str, CollectedImage]:
    """Add rows, which replace those of the same images, and remove others. The file is replaced as a whole.

    Args:
        path: The table.
        add: Rows.
        remove: The sha256 of images.

    Returns:
        All rows by sha256.

    Raises:
        DataError: The file is invalid; it is left as it is.
    """
    with writing(path):
        rows = read_collected(path) if path.exists() else {}
        before = list(rows.values())
        for sha256 in remove:
            rows.pop(sha256, None)
        rows.update({image.sha256: image for image in add})
        if not path.exists() or list(rows.values()) != before:
            write_csv(path, map(_cells, rows.values()), COLUMNS)
        return rows


def _cells(image: CollectedImage) -> dict[str, str]:
    return {
        "sha256": image.sha256,
        "label": image.label,
        "extension": image.extension,
        "predicted": image.predicted,
        "confidence": f"{image.confidence:.4f}",
        "model": image.model,
        "version": image.version,
        "asked": ASKED if image.asked else "",
        "given_by": image.given_by,
        "time": image.time,
        "dataset": image.dataset,
        "group": image.group or "",
    }


def _contradict(image: CollectedImage, other: CollectedImage) -> str:
    return f"give the same image different labels, {image.label!r} and {other.label!r}; delete one of them"


def _parse_row(row: Mapping[str, str]) -> CollectedImage:
    if problem := find_hash_problem(row["sha256"]):
        raise DataError(problem)
    if not row["label"]:
        raise DataError("it has no label; write a class, or delete the line")
    if not _EXTENSION.fullmatch(row["extension"]):
        raise DataError(
            f"extension {row['extension'][:80]!r} is not one of a file, such as png; it has no dot and is in lower case"
        )
    if row["asked"] not in {"", ASKED}:
        raise DataError(f"asked {row['asked'][:80]!r} is neither {ASKED!r} nor empty")
    texts = {name: row[name] for name in COLUMNS if name not in {"confidence", "asked", "group"}}
    return CollectedImage(
        **texts,
        confidence=_parse_confidence(row["confidence"]),
        asked=row["asked"] == ASKED,
        group=row["group"] or None,
    )


def _parse_confidence(text: str) -> float:
    try:
        value = float(text or 0)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise DataError(f"confidence {text[:80]!r} is not a number from 0 to 1")
    return value
