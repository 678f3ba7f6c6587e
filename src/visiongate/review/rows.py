"""Rows of the report's tables, from the records of two revisions."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from visiongate.records.metrics import lower_is_better
from visiongate.records.parsing import is_finite
from visiongate.records.splits import SPLITS
from visiongate.records.verdict import GateVerdict, RuleResult
from visiongate.review.markdown import (
    Markdown,
    code,
    difference,
    interval,
    render_value,
    sentence,
    setting,
)
from visiongate.review.snapshot import Snapshot

Row = list[object]
Values = Mapping[str, object]
MARKS = {True: "✅", False: "❌", None: "⚪"}
# They describe the images, not the model, so that a change is neither better nor worse.
NEUTRAL_METRICS = frozenset({"images", "majority_accuracy", "linear_accuracy", "threshold"})
MAX_MATRIX_CLASSES, MAX_HEADER, MAX_SLICES = 12, 10, 5


class ConfusionMatrix(NamedTuple):
    """A confusion matrix as a table."""

    header: list[str | Markdown]
    rows: list[Row]


def gate_rows(verdict: GateVerdict, base: Snapshot | None) -> list[Row]:
    """Return a row per rule, the failed ones first."""
    before = _base_values(base) if base else {}
    return [
        _gate_row(rule, before.get((rule.name, rule.metric), before.get(("", rule.metric))))
        for rule in verdict.worst_first
    ]


def _gate_row(rule: RuleResult, base: object) -> Row:
    name = Markdown(f"{MARKS[rule.passed]} {code(rule.name)}")
    note = f"\n{code(rule.note)}" if rule.note else ""
    actual = Markdown(f"{render_value(rule.value)}{interval(rule.low, rule.high)}{note}")
    return [name, f"{rule.metric} {rule.required}", actual, base, difference(rule.value, base)]


def _base_values(base: Snapshot) -> dict[tuple[str, str], object]:
    """Return the metrics of the base, and by rule the values of rules on the worst class, which are not metrics."""
    values: dict[tuple[str, str], object] = {}
    for metrics in (base.metrics, base.times):
        values |= {("", name): value for name, value in (metrics or {}).items()}
    rules = base.verdict.rules if base.verdict else ()
    return values | {(rule.name, rule.metric): rule.value for rule in rules if rule.value is not None}


def metric_rows(current: Values, base: Values | None) -> list[Row]:
    """Return a row per metric; with a base, only the metrics that changed in their first four digits."""
    if base is None:
        return [[name, None, value, None] for name, value in current.items()]
    names = [name for name in _merge(current, base) if _differs(current.get(name), base.get(name))]
    return [[name, base.get(name), current.get(name), _rate(name, current, base)] for name in names]


def count_worse(current: Values, base: Values, ignored: str) -> int:
    """Return how many metrics are worse than in the base."""
    return sum(_rate(name, current, base).endswith("worse") for name in current if name != ignored)


def _rate(name: str, current: Values, base: Values) -> Markdown:
    change = difference(current.get(name), base.get(name))
    if name in NEUTRAL_METRICS or not change.startswith(("+", "-")):
        return change
    better = change.startswith("+") != lower_is_better(name)
    return Markdown(f"{change} {'better' if better else 'worse'}")


def _differs(current: object, base: object) -> bool:
    if is_finite(current) and is_finite(base):
        return difference(current, base) != "="
    return repr(current) != repr(base)


def _merge(current: Iterable[str], base: Iterable[str]) -> list[str]:
    return list(dict.fromkeys([*current, *base]))


def parameter_rows(current: Values, base: Values) -> list[Row]:
    """Return a row per parameter that changed."""
    names = [name for name in _merge(current, base) if repr(current.get(name)) != repr(base.get(name))]
    return [
        [name, *(setting(side[name]) if name in side else None for side in (base, current))] for name in names
    ]


def time_rows(current: Snapshot, base: Snapshot | None) -> list[Row]:
    """Return the measured times and the summary of the training, if they differ from the base's."""
    rows: list[Row] = []
    for values, before in (
        (current.times, base.times if base else None),
        (current.training, base.training if base else None),
    ):
        if values and values != before:
            rows += [[name, (before or {}).get(name), value] for name, value in values.items()]
    return rows


def class_rows(current: Snapshot, base: Snapshot | None) -> list[Row]:
    """Return a row per class, those first whose recall changed most, or is lowest."""
    before = {row.name: row for row in (base.classes if base else None) or ()}
    rows = []
    for row in current.classes or ():
        old = before.get(row.name)
        recall, f1 = (old.recall, old.f1) if old else (None, None)
        change = abs(row.recall - recall) if row.recall is not None and recall is not None else 0.0
        cells = [
            row.name,
            row.images,
            row.recall,
            difference(row.recall, recall),
            row.f1,
            difference(row.f1, f1),
        ]
        rows.append((-change, row.recall if row.recall is not None else -1.0, cells))
    return [cells for _, _, cells in sorted(rows, key=lambda item: item[:2])]


def class_changes(current: Snapshot, base: Snapshot | None) -> dict[str, list[str]]:
    """Return the classes that were added and removed."""
    now, before = ([row.name for row in (side.classes if side else None) or ()] for side in (current, base))
    if not now or not before:
        return {"added": [], "removed": []}
    return {
        "added": [name for name in now if name not in before],
        "removed": [name for name in before if name not in now],
    }


def confusion_matrix(current: Snapshot) -> ConfusionMatrix | None:
    """Return the confusion matrix if it has at most 12 classes."""
    names, counts = [row.name for row in current.classes or ()], _count_pairs(current)
    complete = set(names) >= {name for pair in counts for name in pair}
    if not counts or not complete or len(names) > MAX_MATRIX_CLASSES:
        return None
    header = ["", *(code(name, MAX_HEADER) for name in names)]
    rows: list[Row] = [
        [code(actual, MAX_HEADER), *(_count(counts[actual, name], diagonal=actual == name) for name in names)]
        for actual in names
    ]
    return ConfusionMatrix(header, rows)


def _count_pairs(snapshot: Snapshot | None) -> Counter[tuple[str, str]]:
    """Count the test images by actual and predicted class."""
    return Counter((row.actual, row.predicted) for row in (snapshot and snapshot.confusion) or ())


def _count(images: int, *, diagonal: bool) -> Markdown:
    if not images:
        return Markdown("·")
    return Markdown(f"**{images:,}**" if diagonal else f"{images:,}")


def confusion_rows(current: Snapshot, base: Snapshot | None) -> list[Row]:
    """Return a row per pair of classes that were confused, the most frequent first."""
    counts, before = _count_pairs(current), _count_pairs(base)
    wrong = sorted((-images, *pair) for pair, images in counts.items() if pair[0] != pair[1])
    return [
        [actual, predicted, -images, before[actual, predicted] if before else None]
        for images, actual, predicted in wrong
    ]


def slice_rows(current: Snapshot, base: Snapshot | None) -> list[Row]:
    """Return some slices, those first whose lower accuracy is the least likely to be chance."""
    before = {
        (found.dimension, found.name): found.accuracy for found in (base.slices if base else None) or ()
    }
    return [
        [
            Markdown(f"{code(found.dimension)} {code(found.name)}"),
            found.images,
            Markdown(f"{render_value(found.accuracy)}{interval(found.low, found.high)}"),
            difference(found.accuracy, before.get((found.dimension, found.name))),
            found.p_value,
        ]
        for found in sorted(current.slices or (), key=lambda found: (found.p_value, found.accuracy))[
            :MAX_SLICES
        ]
    ]


def expectation_rows(current: Snapshot, base: Snapshot | None) -> list[Row]:
    """Return the expectations that failed, the critical ones first."""
    before = {each.name for each in (base.expectations if base else None) or () if not each.success}
    failed = [each for each in current.expectations or () if not each.success]
    rows: list[Row] = []
    for each in sorted(failed, key=lambda each: each.severity != "critical"):
        mark = "❌" if each.severity == "critical" else "⚠️"
        new = " (new)" if base and base.expectations is not None and each.name not in before else ""
        rows.append(
            [Markdown(f"{mark} {code(each.name)}{new}"), sentence(each.required), sentence(each.actual)]
        )
    return rows


def split_rows(current: Snapshot, base: Snapshot | None) -> list[Row]:
    """Return how many images each split has."""
    if current.images is None:
        return []
    now, before = (_count_splits(side.images if side else None) for side in (current, base))
    names = _merge(SPLITS, sorted({*now, *before}))
    return [
        [name, before[name] if before else None, now[name], _split_change(name, now, before)]
        for name in names
    ]


def _split_change(name: str, now: Counter[str], before: Counter[str]) -> Markdown | None:
    return difference(now[name], before[name]) if before else None


def _count_splits(images: pa.Table | None) -> Counter[str]:
    return Counter(images["split"].to_pylist() if images is not None else ())


def image_changes(current: pa.Table | None, base: pa.Table | None) -> dict[str, int]:
    """Count the images that were added, removed, moved and relabeled. Images with the same bytes are the same image."""
    if current is None or base is None:
        return {}
    kept = current.join(base, keys="sha256", join_type="inner", right_suffix="_base")
    moved, relabeled = (
        int(pc.sum(pc.not_equal(kept[column], kept[f"{column}_base"])).as_py() or 0)
        for column in ("split", "label")
    )
    added, removed = len(current) - len(kept), len(base) - len(kept)
    return {"added": added, "removed": removed, "moved": moved, "relabeled": relabeled}


def quarantine_rows(current: Snapshot, base: Snapshot | None) -> list[Row]:
    """Return how many images each reason removed."""
    now = Counter(each.reason for each in current.quarantine or ())
    before = (
        None if base is None or base.quarantine is None else Counter(each.reason for each in base.quarantine)
    )
    return [
        [reason, before[reason] if before is not None else None, now[reason]]
        for reason in sorted({*now, *(before or ())})
    ]


def newly_quarantined(current: Snapshot, base: Snapshot | None) -> list[Row]:
    """Return the images that the base does not quarantine."""
    if base is None or base.quarantine is None:
        return []
    known = {(each.sha256, each.path) for each in base.quarantine}
    new = [each for each in current.quarantine or () if (each.sha256, each.path) not in known]
    return [[each.path, each.label, each.reason] for each in new]


def suggestion_rows(current: Snapshot) -> list[Row]:
    """Return the settings that the search suggests, beside the current ones."""
    params, suggested = current.params or {}, current.search.values if current.search else {}
    return [
        [name, setting(params[name]) if name in params else None, setting(value)]
        for name, value in suggested.items()
    ]
