"""From the content of the line's files to a snapshot's parts.

Whoever opens a pull request may have written them, so all is checked. Each function raises `DataError` where the content is not
what the line writes; the message does not name the file, which only the caller knows.
"""

import csv
import hashlib
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from visiongate.errors import DataError
from visiongate.evaluation.slices import Slice
from visiongate.records.history import parse_history
from visiongate.records.interval import Interval
from visiongate.review.report.snapshot import (
    ClassRow,
    Course,
    Expectation,
    Pair,
    Quarantined,
    Registration,
    Search,
)

MOST_LEAVES, MOST_DEPTH = 20_000, 30  # of a tree: aliases in YAML can make a small file endless
CURVES = ("train_loss", "val_loss", "train_accuracy", "val_accuracy")

MOST_BITS = 4_000  # of a whole number: printing a longer one takes its time, or is refused
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Parsed = TypeVar("Parsed")
Row = Mapping[str, str]


def parse_values(content: bytes) -> dict[str, object]:
    """Read JSON, and name each value by its path."""
    return flatten(_read_json(content))


def parse_params(content: bytes) -> dict[str, object]:
    """Read YAML, and name each value by its path."""
    return flatten(_read_yaml(content))


def flatten(tree: object) -> dict[str, object]:
    """Name each value of a tree by its path, as in ``model.lr``; lists of plain values stay whole, as tuples."""
    if not isinstance(tree, Mapping):
        raise DataError("it holds no values by name")
    found: dict[str, object] = {}
    for name, value in _leaves(tree, "", 0):
        if any(isinstance(item, int) and item.bit_length() > MOST_BITS for item in _items(value)):
            raise DataError(f"{name[:80]} is a number of more than {MOST_BITS:,} bits")
        found[name] = value
        if len(found) > MOST_LEAVES:
            raise DataError(f"it holds more than {MOST_LEAVES:,} values")
    return found


def _items(value: object) -> Sequence[object]:
    return value if isinstance(value, tuple) else (value,)


def _leaves(node: object, name: str, depth: int) -> Iterator[tuple[str, object]]:
    if depth > MOST_DEPTH:
        raise DataError(f"it is nested more than {MOST_DEPTH} deep")
    nested = isinstance(node, Mapping | list) and bool(node)
    if isinstance(node, list) and not any(isinstance(item, Mapping | list) for item in node):
        yield name, tuple(node)
    elif nested and isinstance(node, Mapping | list):
        for key, value in node.items() if isinstance(node, Mapping) else enumerate(node):
            yield from _leaves(value, f"{name}.{key}".removeprefix("."), depth + 1)
    else:
        yield name, "{}" if isinstance(node, Mapping) else node


def parse_stages(content: bytes) -> dict[str, str]:
    """Read ``dvc.lock``: a digest of what each stage last ran with, by its name."""
    return {
        name: _digest(cmd=entry.get("cmd"), deps=_named(entry, "deps"), params=entry.get("params"))
        for name, entry in parse_lock(content).items()
    }


def parse_outs(content: bytes) -> dict[str, str]:
    """Read ``dvc.lock``: the md5 of each output, by its path."""
    stages = parse_lock(content).values()
    return {path: md5 for entry in stages for path, md5 in _named(entry, "outs").items()}


def parse_lock(content: bytes) -> dict[str, dict[str, Any]]:
    """Read the stages of ``dvc.lock``; the deps and outs of each are lists of entries with a path."""
    tree = _read_yaml(content)
    flatten(tree if tree is not None else {})  # refuses what is endless
    stages = tree.get("stages") if isinstance(tree, dict) else {}
    if not isinstance(stages, dict) or not all(isinstance(entry, dict) for entry in stages.values()):
        raise DataError("it lists no stages")
    for entry in stages.values():
        _named(entry, "deps")
        _named(entry, "outs")
    return {str(name): entry for name, entry in stages.items()}


def _named(entry: Mapping[str, Any], kind: str) -> dict[str, str]:
    found = entry.get(kind) or []
    if not isinstance(found, list) or not all(
        isinstance(item, dict) and isinstance(item.get("path"), str) for item in found
    ):
        raise DataError(f"a stage's {kind} are no list of paths")
    return {str(item["path"]): str(item.get("md5")) for item in found}


def _digest(**parts: object) -> str:
    return hashlib.sha256(repr(sorted(flatten(parts).items())).encode(errors="replace")).hexdigest()


def parse_intervals(content: bytes) -> dict[str, Interval]:
    """Read ``intervals.json``."""
    return _check(TypeAdapter(dict[str, Interval]), _read_json(content))


def parse_classes(content: bytes) -> tuple[ClassRow, ...]:
    """Read ``per_class.csv``."""
    rows = _read_csv(content, "class", "images", "recall", "f1")
    return tuple(
        _check(
            _CLASS, {"name": row["class"], **{key: row[key] or None for key in ("images", "recall", "f1")}}
        )
        for row in rows
    )


def parse_slices(content: bytes) -> tuple[Slice, ...]:
    """Read ``slices.csv``."""
    rows = _read_csv(content, "dimension", "slice", "images", "accuracy", "low", "high", "gap", "p_value")
    return tuple(_check(_SLICE, {**row, "name": row["slice"]}) for row in rows)


def parse_confusion(content: bytes) -> tuple[Pair, ...]:
    """Read ``confusion.csv``, an image a row, and count; the most frequent pair first."""
    counts = Counter((row["actual"], row["predicted"]) for row in _read_csv(content, "actual", "predicted"))
    return tuple(
        Pair(*names, images) for names, images in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    )


def parse_course(content: bytes) -> Course:
    """Parse ``history.csv``."""
    history = parse_history(content)
    curves = {name: [float(getattr(epoch, name)) for epoch in history] for name in CURVES}
    return Course([epoch.epoch for epoch in history], curves)


def parse_expectations(content: bytes) -> tuple[Expectation, ...]:
    """Read ``result.json`` of the validation."""
    tree = _read_json(content)
    found = tree.get("expectations") if isinstance(tree, dict) else None
    return tuple(_check(TypeAdapter(list[Expectation]), found))


def parse_quarantine(content: bytes) -> tuple[Quarantined, ...]:
    """Read ``quarantine.csv``."""
    rows = _read_csv(content, "path", "label", "reason", "sha256")
    return tuple(Quarantined(row["path"], row["label"], row["reason"], row["sha256"]) for row in rows)


@dataclass(frozen=True, slots=True)
class _Summary:
    trials: int
    best_value: float
    current_value: float | None
    beats_current: bool


def parse_search(summary: bytes, study: bytes, best: bytes) -> Search:
    """Read what `optimize` leaves: ``optimize.json``, ``study.json`` and ``best_params.yaml``."""
    figures, told = _check(TypeAdapter(_Summary), _read_json(summary)), flatten(_read_json(study))
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
    return _check(TypeAdapter(Registration), _read_json(content))


def _read_json(content: bytes) -> Any:  # noqa: ANN401 - whatever JSON gives
    return _guard(lambda: json.loads(content), "JSON")


def _read_yaml(content: bytes) -> Any:  # noqa: ANN401 - whatever YAML gives
    def read() -> Any:  # noqa: ANN401 - the same
        _check_events(content)
        return yaml.load(content, Loader=_LOADER)  # noqa: S506 - a safe loader

    return _guard(read, "YAML")


def _check_events(content: bytes) -> None:
    """Refuse what the line never writes, and what makes a small file endless or a reader fall over: aliases, tags, depth."""
    depth = 0
    for event in yaml.parse(content, Loader=_LOADER):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None) is not None:
            raise DataError("it has an alias or a tag, which the line does not write")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MOST_DEPTH:
            raise DataError(f"it is nested more than {MOST_DEPTH} deep")


def _guard(read: Callable[[], Parsed], what: str) -> Parsed:
    try:
        return read()
    except (ValueError, LookupError, AttributeError, TypeError, RecursionError, yaml.YAMLError) as error:
        raise DataError(f"it is not valid {what}: {' '.join(str(error).split())[:120]}") from None


def _read_csv(content: bytes, *columns: str) -> Iterator[Row]:
    """Yield rows by column, all of which must be there."""
    reader = csv.DictReader(io.StringIO(content.decode("utf-8", errors="replace"), newline=""))
    try:
        missing = [column for column in columns if column not in (reader.fieldnames or ())]
        if missing:
            raise DataError(f"it has no column {', '.join(missing)}")
        for row in reader:
            if None in row or None in row.values():
                raise DataError(f"line {reader.line_num} has not {len(reader.fieldnames or ())} cells")
            yield row
    except csv.Error as error:
        raise DataError(f"it is not valid CSV: {error}") from None


def _check(kind: TypeAdapter[Parsed], value: object) -> Parsed:
    try:
        return kind.validate_python(value)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise DataError(f"{where or 'it'}: {problem['msg']}") from None


_CLASS = TypeAdapter(ClassRow)
_SLICE = TypeAdapter(Slice)
