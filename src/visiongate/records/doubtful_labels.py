"""``reports/collect/doubtful.csv``: labels of the service's images that a person should look at."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from visiongate.records.csv_rows import read_rows, write_rows

DOUBTFUL_FILE = "doubtful.csv"
# Copies of the images, so that they can be looked at and outlive the service's own.
IMAGES = "images"


@dataclass(frozen=True, slots=True)
class DoubtfulLabel:
    """What somebody said about an image, and why it is doubted.

    Attributes:
        sha256: Of the encoded file.
        label: The true class, as most voices have it.
        doubt: A name of `visiongate.monitoring.opinions.Doubt`.
        detail: The same in words.
        predicted: The class that the service answered.
        confidence: The probability of that class.
        model: The name of the model that answered.
        version: Of the model.
        asked: Whether the service asked for the class.
        given_by: The names of the API keys that sent the label.
        time: When the label was given, an ISO time in UTC.
        file: The copy of the image, relative to the table; empty if the service has not kept it.
    """

    sha256: str
    label: str
    doubt: str
    detail: str
    predicted: str
    confidence: float
    model: str
    version: str
    asked: bool
    given_by: str
    time: str
    file: str


def read_doubtful(folder: Path) -> dict[str, DoubtfulLabel]:
    """Read the table by sha256; without a file, there is no doubtful label.

    Raises:
        DataError: The file is invalid.
    """
    path = folder / DOUBTFUL_FILE
    rows = read_rows(path, DoubtfulLabel) if path.exists() else ()
    return {row.sha256: row for row in rows}


def write_doubtful(folder: Path, labels: Sequence[DoubtfulLabel]) -> None:
    """Write the table."""
    write_rows(folder / DOUBTFUL_FILE, labels, DoubtfulLabel)
