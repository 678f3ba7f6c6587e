"""The results on a terminal: a table of few images, and the number of images by class."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from visiongate.models.classifier import Classifier
from visiongate.models.predictor import EMBEDDING
from visiongate.prediction.file_predictor import PATH, REASON, FilePredictor
from visiongate.text_tables import format_table, shorten

# More images are not listed one by one.
MAX_LISTED = 50
# Of more classes, those without images are left out.
MAX_CLASSES = 20
MAX_REASONS = 3
# Of a path, in characters; its end is shown.
MAX_PATH = 60
TRUTH = {True: "yes", False: "no", None: "-"}


@dataclass(slots=True)
class _ClassCount:
    images: int = 0
    confidence: float = 0.0
    unsure: int = 0
    outside: int = 0


@dataclass(slots=True)
class Summary:
    """What was predicted so far.

    Attributes:
        predictor: The models.
        files: Number of files.
        unread: Number of files that could not be read.
    """

    predictor: FilePredictor
    files: int = 0
    unread: int = 0
    _rows: list[dict[str, Any]] = field(default_factory=list)
    _reasons: list[str] = field(default_factory=list)
    _classes: dict[tuple[str, str], _ClassCount] = field(default_factory=dict)

    def add(self, results: pa.Table) -> None:
        """Count results."""
        self.files += results.num_rows
        failed = results.filter(pc.is_valid(results[REASON])).select([PATH, REASON]).to_pylist()
        self.unread += len(failed)
        free = max(0, MAX_REASONS - len(self._reasons))
        self._reasons += [f"{row[PATH]}: {row[REASON]}" for row in failed[:free]]
        if len(self._rows) <= MAX_LISTED:
            self._rows += results.slice(0, MAX_LISTED + 1 - len(self._rows)).to_pylist()
        for classifier in self.predictor.classifiers:
            self._count(classifier, results)

    def list_images(self) -> str | None:
        """Return a table with a line for each image; None for too many or no images."""
        if not 0 < len(self._rows) <= MAX_LISTED:
            return None
        single = len(self.predictor.classifiers) == 1
        header, cells = self._header_one(), self._cells_one
        if not single:
            header, cells = [PATH, *(each.name for each in self.predictor.classifiers)], self._cells_many
        return format_table(header, [[_path(row), *cells(row)] for row in self._rows], None)

    def list_classes(self) -> str:
        """Return a table with a line for each model and class."""
        several = len(self.predictor.classifiers) > 1
        header = [*(["model"] if several else []), "class", "images", "mean confidence", *self._optional()]
        rows = []
        for classifier in self.predictor.classifiers:
            for name in classifier.classes:
                count = self._classes.get((classifier.name, name), _ClassCount())
                if not count.images and len(classifier.classes) > MAX_CLASSES:
                    continue
                mean = count.confidence / count.images if count.images else math.nan
                cells = [name, f"{count.images:,}", "-" if math.isnan(mean) else f"{mean:.3f}"]
                numbers = {"not sure": count.unsure, "out of distribution": count.outside}
                cells += [f"{numbers[title]:,}" for title in self._optional()]
                rows.append([*([classifier.name] if several else []), *cells])
        return format_table(header, rows, None)

    def describe_unread(self) -> Iterator[str]:
        """Yield lines about the files that could not be read."""
        if self.unread:
            yield f"{self.unread:,} of {self.files:,} files could not be read:"
            yield from (f"  {shorten(reason, 200)}" for reason in self._reasons)
            if self.unread > len(self._reasons):
                yield f"  and {self.unread - len(self._reasons):,} more"

    def _count(self, classifier: Classifier, results: pa.Table) -> None:
        names = ("predicted", "confidence", "sure", "out_of_distribution")
        columns = (results[self.predictor.column(classifier, name)].to_pylist() for name in names)
        for predicted, confidence, sure, outside in zip(*columns, strict=True):
            if predicted is None:
                continue
            count = self._classes.setdefault((classifier.name, predicted), _ClassCount())
            count.images += 1
            count.confidence += confidence
            count.unsure += sure is False
            count.outside += outside is True

    def _optional(self) -> list[str]:
        """Return the titles of what at least one of the models knows."""
        sure = any(each.knows_sure for each in self.predictor.classifiers)
        novelty = any(each.knows_novelty for each in self.predictor.classifiers)
        return [*(["not sure"] if sure else []), *(["out of distribution"] if novelty else [])]

    def _header_one(self) -> list[str]:
        sure = ["sure"] if self.predictor.classifiers[0].knows_sure else []
        return [PATH, "predicted", "confidence", *sure, *self._added(), "note"]

    def _cells_one(self, row: dict[str, Any]) -> Sequence[str]:
        note = row[REASON] or ("unlike the training images" if row["out_of_distribution"] else "")
        confidence = "-" if row["confidence"] is None else f"{row['confidence']:.3f}"
        # The error rate holds for images like the training images only.
        is_sure = None if row["out_of_distribution"] else row["sure"]
        sure = [TRUTH[is_sure]] if self.predictor.classifiers[0].knows_sure else []
        added = [_text(row[name]) for name in self._added()]
        return [row["predicted"] or "-", confidence, *sure, *added, note]

    def _added(self) -> list[str]:
        """Return the names of the added columns of text."""
        fields = [field for addition in self.predictor.additions for field in addition.schema]
        return [field.name for field in fields if field.name != EMBEDDING]

    def _cells_many(self, row: dict[str, Any]) -> Sequence[str]:
        if row[REASON] is not None:
            return [row[REASON], *([""] * (len(self.predictor.classifiers) - 1))]
        return [self._cell(row, each) for each in self.predictor.classifiers]

    def _cell(self, row: dict[str, Any], classifier: Classifier) -> str:
        names = ("predicted", "confidence", "sure")
        predicted, confidence, sure = (row[self.predictor.column(classifier, name)] for name in names)
        return f"{predicted} {confidence:.3f}{' not sure' if sure is False else ''}"


def _text(value: str | list[str] | None) -> str:
    return ", ".join(value) if isinstance(value, list) else value or "-"


def _path(row: dict[str, Any]) -> str:
    path: str = row[PATH]
    return path if len(path) <= MAX_PATH else f"…{path[1 - MAX_PATH :]}"
