"""The list of what to label next: its file and its page."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from visiongate.pages.rendering import render_page
from visiongate.records.csv_rows import write_rows
from visiongate.records.files import write_text

LIST_FILE = "label_next.csv"


@dataclass(frozen=True, slots=True)
class LabelingRow:
    """A row of ``label_next.csv``: an image to label.

    Attributes:
        path: As the sources name it.
        sha256: Of the encoded file.
        predicted: The most probable class.
        probability: Of that class.
        margin: That probability minus the next one's; 0 is a tie.
    """

    path: str
    sha256: str
    predicted: str
    probability: float
    margin: float


def write_list(folder: Path, rows: Sequence[LabelingRow], pictures: Sequence[bytes], total: int) -> None:
    """Write ``label_next.csv`` and ``index.html``.

    Args:
        folder: Where to write.
        rows: The chosen images, in order.
        pictures: A PNG of each.
        total: The number of unlabeled images.
    """
    write_rows(folder / LIST_FILE, rows, LabelingRow)
    page = render_page("correction/labeling_page.html", rows=rows, pictures=pictures, total=total)
    write_text(folder / "index.html", page)
