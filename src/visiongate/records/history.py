"""``reports/training/history.csv``: the metrics of each epoch of a training."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from visiongate.errors import DataError
from visiongate.records.files import write_csv


@dataclass(frozen=True, slots=True)
class EpochMetrics:
    """The metrics of one epoch. Losses are means per image; None if a metric is undefined for the data."""

    # From 1.
    epoch: int
    # The learning rate at the end of the epoch; None for a baseline.
    lr: float | None
    # Measured on augmented images during the epoch.
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    val_precision: float | None = None
    val_recall: float | None = None
    val_f1: float | None = None
    val_roc_auc: float | None = None
    val_top3: float | None = None

    def score(self, monitor: str) -> float:
        """Return a metric so that higher is better: losses are negated, and an undefined metric is minus infinity."""
        value: float | None = getattr(self, monitor)
        if value is None:
            return -math.inf
        return -value if monitor == "val_loss" else value

    def is_better_than(self, other: "EpochMetrics | None", monitor: str) -> bool:
        """Compare the monitored metric, then the validation loss."""
        if other is None:
            return True
        return (self.score(monitor), -self.val_loss) > (other.score(monitor), -other.val_loss)

    def defined(self) -> dict[str, float]:
        """Return the defined metrics by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def average_histories(histories: Sequence[Sequence[EpochMetrics]], monitor: str) -> list[EpochMetrics]:
    """Return the mean metrics of each epoch; a metric that one of the trainings lacks is None.

    A training that stopped earlier than others counts with its best epoch, which it keeps.

    Args:
        histories: Of the trainings.
        monitor: The metric that chooses the best epoch.
    """
    length = max(map(len, histories))
    complete = [
        [*history, *[best_epoch(history, monitor)] * (length - len(history))] for history in histories
    ]
    return [_average(number, epochs) for number, epochs in enumerate(zip(*complete, strict=True), start=1)]


def best_epoch(history: Sequence[EpochMetrics], monitor: str) -> EpochMetrics:
    """Return the best epoch by a metric; of equal ones, the first."""
    best = history[0]
    for epoch in history[1:]:
        if epoch.is_better_than(best, monitor):
            best = epoch
    return best


def _average(number: int, epochs: Sequence[EpochMetrics]) -> EpochMetrics:
    values = {name: [getattr(epoch, name) for epoch in epochs] for name in COLUMNS[1:]}
    means: dict[str, Any] = {
        name: None if None in each else sum(each) / len(each) for name, each in values.items()
    }
    return EpochMetrics(epoch=number, **means)


COLUMNS = [field.name for field in fields(EpochMetrics)]
_ROWS = TypeAdapter(list[EpochMetrics])


def write_history(path: Path, history: Sequence[EpochMetrics]) -> None:
    """Write one row per epoch; an undefined metric is an empty cell."""
    write_csv(path, [asdict(epoch) for epoch in history], COLUMNS)


def read_history(path: Path) -> list[EpochMetrics]:
    """Read a history.

    Raises:
        DataError: The content is not a history.
    """
    return parse_history(path.read_bytes())


def parse_history(content: bytes) -> list[EpochMetrics]:
    """Parse the content of a history; unknown columns are ignored.

    Raises:
        DataError: The content is not a history.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(content.decode("utf-8"), newline="")))
        return _ROWS.validate_python([{name: row.get(name) or None for name in COLUMNS} for row in rows])
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"history.csv: it is not a CSV file: {error}") from None
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        row, *column = problem["loc"]
        raise DataError(
            f"history.csv: row {int(row) + 1}: {'.'.join(map(str, column))} is invalid: {problem['msg']}"
        ) from None
