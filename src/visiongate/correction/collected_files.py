"""Carry out a plan for feedback: copy image files, and change the tables."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from visiongate.correction.collecting import Decisions, Plan
from visiongate.correction.review_list import write_review
from visiongate.errors import DataError
from visiongate.monitoring.kept_images import SETTING, KeptImages
from visiongate.records.collected import CollectedImage, change_collected
from visiongate.records.corrections import change_corrections, remove_correction
from visiongate.records.doubtful_labels import IMAGES, DoubtfulLabel, read_doubtful
from visiongate.records.files import atomic_path


@dataclass(frozen=True, slots=True)
class CollectedFiles:
    """Where the files and tables are.

    Attributes:
        kept: The files that the service keeps.
        table: ``collected.csv``.
        images: The folder of the collected images.
        corrections: ``corrections.csv``.
        reviewed: The folder of the table of doubtful labels.
    """

    kept: KeptImages
    table: Path
    images: Path
    corrections: Path
    reviewed: Path

    def find(self, sha256: str) -> str | None:
        """Return the extension of an image that the service has kept, or an earlier run for a review."""
        copy = self._find_copy(sha256)
        return self.kept.find(sha256) if copy is None else copy.suffix[1:]

    def read(self, sha256: str, extension: str) -> bytes:
        """Return the content of an image.

        Raises:
            DataError: The file cannot be read, or is not that of its name.
        """
        copy = self._find_copy(sha256)
        content = self.kept.read(sha256, extension) if copy is None else copy.read_bytes()
        if hashlib.sha256(content).hexdigest() != sha256:
            raise DataError(f"{SETTING}: the file {sha256}.{extension} has another content; delete it")
        return content

    def missing(self, rows: Iterable[CollectedImage]) -> list[CollectedImage]:
        """Return the rows whose images are not in the folder."""
        return [row for row in rows if not (self.images / row.file).is_file()]

    def restore(self, rows: Iterable[CollectedImage]) -> None:
        """Copy those of the missing images that the service still has."""
        for row in self.missing(rows):
            if self.find(row.sha256) == row.extension:
                _write(self.images / row.file, self.read(row.sha256, row.extension))

    def apply(self, plan: Plan, decisions: Decisions) -> None:
        """Carry out a plan. A killed command loses no label, and the next one completes it.

        Raises:
            DataError: An image cannot be read, or a table cannot be written.
        """
        # A row whose image is missing would stop the pipeline.
        for image in plan.taken:
            _write(self.images / image.file, self.read(image.sha256, image.extension))
        write_review(self.reviewed, [self._copy_for_review(label, decisions) for label in plan.doubtful])
        change_corrections(self.corrections, plan.corrections, plan.withdrawn)
        change_collected(self.table, [*plan.taken, *plan.updated], plan.removed)
        self._remove_files(plan, decisions)

    def forget(self, sha256: str) -> bool:
        """Delete an image and its rows, and return whether it was collected."""
        row = change_collected(self.table).get(sha256)
        if row is not None:
            change_collected(self.table, remove=[sha256])
            (self.images / row.file).unlink(missing_ok=True)
        remove_correction(self.corrections, sha256)
        doubtful = read_doubtful(self.reviewed)
        if doubtful.pop(sha256, None):
            write_review(self.reviewed, list(doubtful.values()))
        for copy in (self.reviewed / IMAGES).glob(f"{sha256}.*"):
            copy.unlink()
        return row is not None

    def _copy_for_review(self, label: DoubtfulLabel, decisions: Decisions) -> DoubtfulLabel:
        """Copy an image that a person should look at; return its row with the place of the copy."""
        row = decisions.collected.get(label.sha256)
        extension = self.find(label.sha256) if row is None else row.extension
        if extension is None:
            return label
        file = Path(IMAGES, f"{label.sha256}.{extension}")
        if not (self.reviewed / file).exists():
            is_collected = row is not None and (self.images / row.file).is_file()
            content = (self.images / row.file).read_bytes() if row and is_collected else None
            _write(self.reviewed / file, content or self.read(label.sha256, extension))
        return replace(label, file=file.as_posix())

    def _remove_files(self, plan: Plan, decisions: Decisions) -> None:
        """Remove the files without a row, and the copies of images that are no longer doubtful."""
        for sha256 in plan.removed:
            (self.images / decisions.collected[sha256].file).unlink(missing_ok=True)
        doubtful = {label.sha256 for label in plan.doubtful}
        for copy in (self.reviewed / IMAGES).glob("*.*"):
            if copy.stem not in doubtful:
                copy.unlink()

    def _find_copy(self, sha256: str) -> Path | None:
        return next((self.reviewed / IMAGES).glob(f"{sha256}.*"), None)


def _write(path: Path, content: bytes) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
