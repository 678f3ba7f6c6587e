"""The tables and numbers that ``evaluate`` writes to ``reports/metrics.json``, ``latency.json`` and ``reports/evaluation``.

`visiongate.records.csv_rows` reads and writes the CSV files. The classes below are their rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import Field

from visiongate.records.csv_rows import parse_rows, read_rows
from visiongate.records.files import write_csv, write_json
from visiongate.records.interval import Finite, Interval
from visiongate.records.json_record import parse_record, read_record

METRICS_FILE, INTERVALS_FILE = "metrics.json", "intervals.json"
CLASSES_FILE, SLICES_FILE, CONFUSION_FILE = "per_class.csv", "slices.csv", "plots/confusion.csv"
NOVELTY_FILE = "out_of_distribution.csv"

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
# Numbers beyond these bounds are damage, and slow to print.
_Number = Annotated[int, Field(ge=-(2**63), lt=2**63)] | Finite


@dataclass(frozen=True, slots=True)
class ClassMetrics:
    """A row of ``per_class.csv``: the metrics of one class; None if the class has no test image.

    Attributes:
        errors: The class's images that are predicted as another class.
        confused_with: The class that is most often predicted instead.
        confused_images: The images predicted as that class.
        roc_auc: Of the class against the rest; None also if every image is of the class.
        average_precision: As `roc_auc`.
    """

    name: str = field(metadata={"column": "class"})
    images: Count
    precision: Share | None
    recall: Share | None
    f1: Share | None
    errors: Count
    confused_with: str | None
    confused_images: Count
    roc_auc: Share | None = None
    average_precision: Share | None = None


@dataclass(frozen=True, slots=True)
class Slice:
    """A row of ``slices.csv``: the accuracy on the test images that have something in common.

    Attributes:
        dimension: ``class``, ``size``, ``brightness``, ``source`` or ``group``.
        low: Lower bound of the accuracy's Wilson interval.
        high: Upper bound.
        gap: The accuracy minus that of all other images.
        p_value: Of an accuracy this far below the rest by chance, adjusted for the number of slices.
    """

    dimension: str
    name: str = field(metadata={"column": "slice"})
    images: Count
    accuracy: Share
    low: Share
    high: Share
    gap: Finite
    p_value: Share


@dataclass(frozen=True, slots=True)
class ConfusionRow:
    """A row of ``plots/confusion.csv``: the class names of one test image."""

    actual: str
    predicted: str


@dataclass(frozen=True, slots=True)
class RocPoint:
    """A row of ``plots/roc.csv``: a point of one class's curve against the rest."""

    name: str = field(metadata={"column": "class"})
    fpr: Share
    tpr: Share


@dataclass(frozen=True, slots=True)
class PrecisionRecallPoint:
    """A row of ``plots/precision_recall.csv``: a point of one class's curve against the rest."""

    name: str = field(metadata={"column": "class"})
    recall: Share
    precision: Share


@dataclass(frozen=True, slots=True)
class ConfidenceBin:
    """A row of ``plots/confidence.csv``: the test images in one bin of confidence, named by its middle."""

    confidence: Share
    right: Count
    wrong: Count


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """A row of ``plots/calibration.csv``: mean confidence and accuracy of the images in one bin of confidence."""

    confidence: Share
    accuracy: Share
    images: Count


@dataclass(frozen=True, slots=True)
class Leak:
    """A row of ``leaks.csv``: a test image, and an image of another split with the same pixels, file or group.

    Attributes:
        path: The test image.
        split: The other image's split.
        other: The other image.
        shared: ``pixels``, ``file`` or ``group``.
    """

    path: str
    split: str
    other: str
    shared: str


@dataclass(frozen=True, slots=True)
class SuspectedLabel:
    """A row of ``label_errors.csv``: a test image whose label is probably wrong.

    Attributes:
        given: The class of the label.
        suggested: The more probable class.
        self_confidence: The probability of the given class.
        margin: `self_confidence` minus the highest probability of another class; -1 is the most suspicious.
    """

    path: str
    given: str
    suggested: str
    self_confidence: Share
    margin: Finite


@dataclass(frozen=True, slots=True)
class NoveltyShare:
    """A row of ``out_of_distribution.csv``: how many of some images are called out of distribution.

    Attributes:
        kind: ``test``, ``corrupted`` or ``foreign``.
        name: Of the corruption, or of the images.
        severity: Of the corruption.
        images: How many there are.
        share: Of those called out of distribution.
    """

    kind: str
    name: str
    severity: Count | None
    images: Count
    share: Share


def write_metrics(path: Path, metrics: Mapping[str, float]) -> None:
    """Write ``metrics.json`` or ``latency.json``: a number per metric."""
    write_json(path, metrics)


def read_metrics(path: Path) -> dict[str, float]:
    """Read ``metrics.json`` or ``latency.json``.

    Raises:
        DataError: The file is missing, or a value is not a finite number.
    """
    return dict(read_record(path, dict[str, _Number]))


def parse_metrics(content: bytes, source: str = METRICS_FILE) -> dict[str, float]:
    """Parse the content of a ``metrics.json`` or ``latency.json``, such as that of another revision.

    Raises:
        DataError: The content is not an object of finite numbers.
    """
    return dict(parse_record(content, dict[str, _Number], source))


def write_intervals(folder: Path, intervals: Mapping[str, Interval]) -> None:
    """Write ``intervals.json``: the confidence interval of each metric that has one."""
    write_json(folder / INTERVALS_FILE, {name: asdict(interval) for name, interval in intervals.items()})


def read_intervals(folder: Path) -> dict[str, Interval]:
    """Read ``intervals.json``.

    Raises:
        DataError: The file is missing or invalid.
    """
    return read_record(folder / INTERVALS_FILE, dict[str, Interval])


def parse_intervals(content: bytes, source: str = INTERVALS_FILE) -> dict[str, Interval]:
    """Parse the content of an ``intervals.json``.

    Raises:
        DataError: The content is invalid.
    """
    return parse_record(content, dict[str, Interval], source)


def parse_classes(content: bytes, source: str = CLASSES_FILE) -> tuple[ClassMetrics, ...]:
    """Parse the content of a ``per_class.csv``, in the order of the model's outputs.

    Raises:
        DataError: The content is invalid.
    """
    return parse_rows(content, ClassMetrics, source)


def read_slices(folder: Path) -> tuple[Slice, ...]:
    """Read ``slices.csv``.

    Raises:
        DataError: The file is missing or invalid.
    """
    return read_rows(folder / SLICES_FILE, Slice)


def parse_slices(content: bytes, source: str = SLICES_FILE) -> tuple[Slice, ...]:
    """Parse the content of a ``slices.csv``.

    Raises:
        DataError: The content is invalid.
    """
    return parse_rows(content, Slice, source)


def parse_confusion(content: bytes, source: str = CONFUSION_FILE) -> tuple[ConfusionRow, ...]:
    """Parse the content of a ``plots/confusion.csv``.

    Raises:
        DataError: The content is invalid.
    """
    return parse_rows(content, ConfusionRow, source)


def describe_protocol(folds: int, images: int) -> str:
    """Return how a model was judged, as a sentence.

    Args:
        folds: 1 for a test split, otherwise the folds of a cross-validation.
        images: The images that the metrics are about.
    """
    if folds == 1:
        return f"Judged on {images:,} test images, which the model has not seen."
    return (
        f"Judged by {folds}-fold cross-validation over all {images:,} images: each image is predicted by a model that has not "
        "seen it."
    )


def worst_slice(slices: Sequence[Slice], min_images: int) -> Slice | None:
    """Return the slice with the lowest accuracy among those with ``min_images``; of equals the largest, then the first."""
    large = (each for each in slices if each.images >= min_images)
    return min(large, key=lambda each: (each.accuracy, -each.images), default=None)


def write_robustness(
    path: Path, accuracies: Mapping[str, Sequence[float]], corruptions: Sequence[str]
) -> None:
    """Write ``plots/robustness.csv``: a row per severity and a column per corruption.

    Args:
        path: The file.
        accuracies: By corruption, from severity 0 (the original images); may be empty.
        corruptions: The columns.
    """
    rows = [
        {"severity": severity, **dict(zip(accuracies, row, strict=True))}
        for severity, row in enumerate(zip(*accuracies.values(), strict=True))
    ]
    write_csv(path, rows, ["severity", *corruptions])
