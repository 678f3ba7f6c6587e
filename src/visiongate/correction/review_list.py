"""The labels that a person should look at: their file and their page."""

from collections.abc import Sequence
from pathlib import Path

from visiongate.errors import DataError
from visiongate.images.preprocessing import thumbnail
from visiongate.pages.rendering import render_page
from visiongate.records.doubtful_labels import DoubtfulLabel, write_doubtful
from visiongate.records.files import write_text

PAGE = "index.html"
PICTURE_SIDE = 192
# On the page, which has their pictures.
MAX_SHOWN = 500


def write_review(folder: Path, labels: Sequence[DoubtfulLabel]) -> None:
    """Write ``doubtful.csv`` and ``index.html``.

    Args:
        folder: Where to write; it has the copies of the images.
        labels: The doubtful labels.
    """
    write_doubtful(folder, labels)
    shown = labels[:MAX_SHOWN]
    pictures = [_picture(folder / label.file) if label.file else None for label in shown]
    page = render_page("correction/review_page.html", labels=shown, pictures=pictures, total=len(labels))
    write_text(folder / PAGE, page)


def _picture(file: Path) -> bytes | None:
    """Return a picture of an image; None if it is missing or cannot be decoded."""
    try:
        return thumbnail(file.read_bytes(), PICTURE_SIDE)
    except (DataError, OSError):
        return None
