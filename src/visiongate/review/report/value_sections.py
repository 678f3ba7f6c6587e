"""Metrics, parameters and stages that changed."""

from collections.abc import Mapping, Sequence

from visiongate.records.metrics import lower_is_better
from visiongate.records.parsing import is_finite
from visiongate.review.report.markdown import NOTHING, change, code, figure, listed, setting, table
from visiongate.review.report.snapshot import Judged, Snapshot

Values = Mapping[str, object]
# Neither better nor worse: they tell of the images, not of the model.
NEUTRAL = frozenset({"images", "majority_accuracy", "linear_accuracy", "threshold"})
FIRST = ("accuracy", "balanced_accuracy", "f1_macro", "recall_min", "roc_auc", "log_loss", "ece")
ABSENT = object()


def tabulate_metrics(judged: Judged, rows: int) -> str:
    """Lay out the metrics that changed, the most telling first; without a base all of them."""
    now, base = judged.now.metrics, judged.base.metrics if judged.base else None
    if now is None:
        return ""
    names = sorted(now, key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))
    if base is None:
        return _tabulate_alone({name: now[name] for name in names}, rows)
    names += [name for name in base if name not in now]
    changed = [name for name in names if _differs(now.get(name, ABSENT), base.get(name, ABSENT))]
    if not changed:
        return f"None of {len(names):,} metrics changed."
    cells = [
        [code(name), *_tell_both(name, now.get(name, ABSENT), base.get(name, ABSENT))] for name in changed
    ]
    return _cut(["metric", "base", "now", "change"], cells, rows, "metrics that changed", 3)


def count_worse(now: Values, base: Values, besides: str) -> int:
    """Count the metrics that are worse than the base's, as far as a difference shows."""
    both = (name for name in now if name in base and name != besides)
    return sum(
        _differs(now[name], base[name]) and _judge(name, now[name], base[name]) == " worse" for name in both
    )


def tabulate_times(judged: Judged, rows: int) -> str:
    """Lay out what was measured on the machine, and how the training ended: told, not compared, and only where it differs."""
    base = judged.base
    parts = [
        (
            judged.now.times,
            base.times if base else None,
            "Measured where each ran: other machines, other times.",
        ),
        (judged.now.training, base.training if base else None, "How the training ended."),
    ]
    shown = []
    for now, before, told in parts:
        if now and now != before:
            cells = [[code(name), *_put_beside(name, value, before)] for name, value in now.items()]
            header = ["", "base", "now"] if before is not None else ["", "now"]
            shown.append(f"{told}\n\n{_cut(header, cells, rows, 'values', len(header) - 1)}")
    return "\n\n".join(shown)


def _put_beside(name: str, value: object, base: Values | None) -> list[str]:
    if base is None:
        return [_tell(value)]
    return [_tell(base[name]) if name in base else NOTHING, _tell(value)]


def tabulate_params(judged: Judged, rows: int) -> str:
    """Lay out the parameters that changed, came or went."""
    if judged.base is None or judged.now.params is None or judged.base.params is None:
        return ""
    now, base = judged.now.params, judged.base.params
    names = [*now, *(name for name in base if name not in now)]
    changed = [name for name in names if repr(now.get(name, ABSENT)) != repr(base.get(name, ABSENT))]
    if not changed:
        return f"None of {len(names):,} parameters changed."
    cells = [[code(name), *_tell_settings(now.get(name, ABSENT), base.get(name, ABSENT))] for name in changed]
    return _cut(["parameter", "base", "now"], cells, rows, "parameters that changed", 0)


def tell_stages(now: Snapshot, base: Snapshot | None) -> str:
    """Say which stages came, went, or ran with something else."""
    if base is None or now.stages is None or base.stages is None:
        return ""
    told = {
        "Stages added": [name for name in now.stages if name not in base.stages],
        "Stages removed": [name for name in base.stages if name not in now.stages],
        "Stages that ran with other code, data or parameters": [
            name for name, digest in now.stages.items() if base.stages.get(name, digest) != digest
        ],
    }
    lines = [f"{what}: {listed(names)}." for what, names in told.items() if names]
    return " ".join(lines) or "Each stage ran with the same code, data and parameters."


def _cut(header: Sequence[str], cells: Sequence[Sequence[str]], rows: int, what: str, numbers: int) -> str:
    more = f"\n\nThe first {rows} of {len(cells):,} {what}." if len(cells) > rows else ""
    return table(header, cells[:rows], numbers) + more


def _tabulate_alone(values: Values, rows: int) -> str:
    cells = [[code(name), _tell(value)] for name, value in values.items()]
    return _cut(["metric", "now"], cells, rows, "metrics", 1)


def _differs(now: object, base: object) -> bool:
    """Tell whether a difference shows: in four digits, if these are numbers."""
    return figure(now) != figure(base) if is_finite(now) and is_finite(base) else repr(now) != repr(base)


def _tell_both(name: str, now: object, base: object) -> list[str]:
    return [_tell(base), _tell(now), change(now, base) + _judge(name, now, base)]


def _judge(name: str, now: object, base: object) -> str:
    if name in NEUTRAL or not (is_finite(now) and is_finite(base)):
        return ""
    return " better" if (now > base) != (lower_is_better(name)) else " worse"


def _tell(value: object) -> str:
    if value is ABSENT:
        return NOTHING
    return code(value) if isinstance(value, str) else figure(value)


def _tell_settings(now: object, base: object) -> list[str]:
    """Write both values; of lists only what came and what went."""
    if isinstance(now, tuple) and isinstance(base, tuple):
        return [_tell_items(base, now), _tell_items(now, base)]
    return [NOTHING if value is ABSENT else setting(value) for value in (base, now)]


def _tell_items(items: tuple[object, ...], others: tuple[object, ...]) -> str:
    known = set(map(repr, others))
    own = [str(item) for item in items if repr(item) not in known]
    return f"{len(items):,} items" + (f", of these only here: {listed(own, 3)}" if own else "")
