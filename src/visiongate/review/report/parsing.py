"""From the content of the line's files to a snapshot's parts.

Whoever opens a pull request may have written them, so all is checked. Each function raises `DataError` where the content is not
what the line writes; the message does not name the file, which only the caller knows.
"""

from collections import Counter
from dataclasses import dataclass

from pydantic import TypeAdapter

from visiongate.records.evaluation import Slice
from visiongate.records.history import parse_history
from visiongate.records.interval import Interval
from visiongate.records.parsing import check_type, flatten, parse_csv, parse_json, parse_yaml
from visiongate.records.validation import ExpectationResult, parse_validation
from visiongate.review.report.snapshot import (
    ClassRow,
    Course,
    Pair,
    Registration,
    Search,
)

CURVES = ("train_loss", "val_loss", "train_accuracy", "val_accuracy")


def parse_values(content: bytes) -> dict[str, object]:
    """Read JSON, and name each value by its path."""
    return flatten(parse_json(content))


def parse_params(content: bytes) -> dict[str, object]:
    """Read YAML, and name each value by its path."""
    return flatten(parse_yaml(content))


def parse_intervals(content: bytes) -> dict[str, Interval]:
    """Read ``intervals.json``."""
    return check_type(TypeAdapter(dict[str, Interval]), parse_json(content))


def parse_classes(content: bytes) -> tuple[ClassRow, ...]:
    """Read ``per_class.csv``."""
    rows = parse_csv(content, "class", "images", "recall", "f1")
    return tuple(
        check_type(
            _CLASS, {"name": row["class"], **{key: row[key] or None for key in ("images", "recall", "f1")}}
        )
        for row in rows
    )


def parse_slices(content: bytes) -> tuple[Slice, ...]:
    """Read ``slices.csv``."""
    rows = parse_csv(content, "dimension", "slice", "images", "accuracy", "low", "high", "gap", "p_value")
    return tuple(check_type(_SLICE, {**row, "name": row["slice"]}) for row in rows)


def parse_confusion(content: bytes) -> tuple[Pair, ...]:
    """Read ``confusion.csv``, an image a row, and count; the most frequent pair first."""
    counts = Counter((row["actual"], row["predicted"]) for row in parse_csv(content, "actual", "predicted"))
    return tuple(
        Pair(*names, images) for names, images in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    )


def parse_course(content: bytes) -> Course:
    """Parse ``history.csv``."""
    history = parse_history(content)
    curves = {name: [float(getattr(epoch, name)) for epoch in history] for name in CURVES}
    return Course([epoch.epoch for epoch in history], curves)


def parse_expectations(content: bytes) -> tuple[ExpectationResult, ...]:
    """Parse the results in ``result.json`` of the validation."""
    return parse_validation(content).expectations


@dataclass(frozen=True, slots=True)
class _Summary:
    trials: int
    best_value: float
    current_value: float | None
    beats_current: bool


def parse_search(summary: bytes, study: bytes, best: bytes) -> Search:
    """Read what `optimize` leaves: ``optimize.json``, ``study.json`` and ``best_params.yaml``."""
    figures, told = check_type(TypeAdapter(_Summary), parse_json(summary)), flatten(parse_json(study))
    return Search(
        trials=figures.trials,
        metric=str(told.get("settings.optimize.metric", "its metric")),
        best=figures.best_value,
        current=figures.current_value,
        beaten=told.get("beaten") is True,
        better=figures.beats_current,
        verdict=str(told.get("verdict", "")),
        values=parse_params(best),
    )


def parse_registration(content: bytes) -> Registration:
    """Read ``registration.json``."""
    return check_type(TypeAdapter(Registration), parse_json(content))


_CLASS = TypeAdapter(ClassRow)
_SLICE = TypeAdapter(Slice)
