"""Join the images that `visiongate collect` took from the service to those of the source."""

import hashlib
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import merge
from operator import itemgetter
from pathlib import Path
from typing import Any

from visiongate.adapters.dvc import DvcError, run_dvc
from visiongate.errors import DataError
from visiongate.records.collected import CollectedImage, read_collected
from visiongate.settings.dataset import Dataset
from visiongate.text_tables import join_first

# Names in a message.
MAX_NAMED = 5
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CollectedImages:
    """The collected images, in the order of their paths.

    Attributes:
        images: The rows of the table.
        folder: The folder of the files.
    """

    images: Sequence[CollectedImage]
    folder: Path

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the rows of the image table, with one image in memory.

        Raises:
            DataError: A file is missing, or is not the image of its row.
        """
        for image in self.images:
            encoded = _read(self.folder / image.file)
            if hashlib.sha256(encoded).hexdigest() != image.sha256:
                raise DataError(
                    f"{self.folder / image.file}: its content is not that of its name; restore it with `dvc checkout --force "
                    f"{self.folder}`"
                )
            yield {
                "image": encoded,
                "label": image.label,
                "path": image.path,
                "split": None,
                "group": image.group,
                "sha256": image.sha256,
            }


def find_collected(table: Path, folder: Path, dataset: str) -> CollectedImages:
    """Return the images of a data set in the table; all of them are in the folder, if need be after a `dvc pull`.

    The folder is no dependency of the stage, because DVC refuses one that does not exist, and git cannot have an empty one.

    Raises:
        DataError: The table is invalid, or files are missing.
    """
    rows = read_collected(table).values()
    images = sorted((row for row in rows if row.dataset == dataset), key=lambda image: image.path)
    if len(rows) > len(images):
        others = join_first(sorted({row.dataset for row in rows} - {dataset}), MAX_NAMED)
        logger.info("%d images in %s are of other data sets: %s", len(rows) - len(images), table, others)
    if missing := _find_missing(images, folder):
        reason = _pull(folder.with_suffix(".dvc"))
        missing = _find_missing(images, folder)
    if missing:
        raise DataError(
            f"{folder}: {len(missing)} of the {len(images)} images that {table} lists are missing, such as {missing[0]}: "
            f"{reason}; run `dvc push` where they were collected, then `dvc pull {folder}.dvc`, or delete their lines"
        )
    return CollectedImages(images, folder)


def _find_missing(images: Sequence[CollectedImage], folder: Path) -> list[str]:
    return [image.file for image in images if not (folder / image.file).is_file()]


def _pull(tracked: Path) -> str:
    """Pull what a file of DVC tracks; return why the images may be missing afterwards."""
    if not tracked.exists():
        return f"there is no {tracked}"
    logger.info("Pulling %s", tracked)
    try:
        run_dvc(["pull", "--quiet", str(tracked)], Path.cwd())
    except DvcError as error:
        return str(error)
    return f"{tracked} does not have them"


def join_classes(classes: Sequence[str], collected: Sequence[CollectedImage], dataset: Dataset) -> list[str]:
    """Return the classes of the source, followed by those that only collected images have, if the settings allow these.

    Raises:
        DataError: A collected image has a label that is not a class.
    """
    counts = Counter(image.label for image in collected if image.label not in classes)
    if counts and not dataset.new_classes:
        named = join_first((f"{label!r} ({count})" for label, count in sorted(counts.items())), MAX_NAMED)
        raise DataError(
            f"data/collected.csv: {counts.total()} images have a label that is not a class of the data: {named}; set "
            "dataset.new_classes=true to add it, or correct or delete the lines"
        )
    return [*classes, *sorted(counts)]


def join_rows(source: Iterator[dict[str, Any]], collected: CollectedImages) -> Iterator[dict[str, Any]]:
    """Yield the rows of both, in the order of their paths."""
    return merge(source, collected.rows(), key=itemgetter("path"))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}; check its permissions") from None
