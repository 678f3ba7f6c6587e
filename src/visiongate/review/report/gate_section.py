"""The verdict in one line that a reviewer can act on, and the table of the rules."""

import re
from collections.abc import Mapping

from visiongate.records.interval import Interval
from visiongate.records.verdict import GateVerdict, RuleResult
from visiongate.review.report.markdown import (
    MOST_SENTENCE,
    NOTHING,
    SAME,
    between,
    change,
    code,
    figure,
    listed,
    table,
)
from visiongate.review.report.snapshot import Judged, Snapshot, Trouble
from visiongate.review.report.value_sections import count_worse

MARKS = {True: "✅", False: "❌", None: "⚪"}
NAMED = 3  # rules that fail, in the line
HEADLINE = "accuracy"
BASE_NOTE = re.compile(r"the base has [\d.e+-]+")  # which a column of its own says too


def tell_verdict(judged: Judged) -> str:
    """Say in one line what came out and what to do about it."""
    if judged.trouble is not None or judged.verdict is None:
        return _tell_trouble(judged.trouble or Trouble("unread", "there is no verdict"))
    if judged.verdict.passed:
        return f"✅ **Gate passed**: {_tell_score(judged)}; {_tell_open(judged.verdict)}."
    told = [_tell_failure(ruling) for ruling in judged.verdict.failed]
    more = f"; and {len(told) - NAMED:,} more" if len(told) > NAMED else ""
    return (
        f"❌ **Gate failed**: {'; '.join(told[:NAMED])}{more}. Mend what it names, or change the rule in `conf/gate/` and say "
        "why."
    )


def _tell_trouble(trouble: Trouble) -> str:
    told = f" {code(trouble.told, MOST_SENTENCE)}" if trouble.told else ""
    if trouble.kind == "failed":
        where = f": stage {code(trouble.stage)}" if trouble.stage else ""
        why = "The end of its log is below." if trouble.log else "`make repro` says why."
        return f"❌ **The line did not run through**{where}.{told} {why}"
    if trouble.kind == "stale":
        return (
            f"❌ **Not judged**: stage {code(trouble.stage)} has not run with what is here{told and f' ({told.strip()})'}. Run "
            "`make repro`, or the same `dvc exp run -S …` again, and commit what it writes."
        )
    return f"❌ **Not judged**:{told}. `make repro` writes the reports anew."


def _tell_score(judged: Judged) -> str:
    """Say what the model reached, and how that differs from the base."""
    name = judged.registry.metric if judged.registry else HEADLINE
    score = (judged.now.metrics or {}).get(name)
    interval = (judged.now.intervals or {}).get(name)
    told = f"{name} {figure(score)}{_bounds(interval)}"
    if judged.base is None:
        return told
    before = (judged.base.metrics or {}).get(name)
    if before is None:
        return f"{told}; {code(judged.base.name)} has none to compare with"
    difference = change(score, before)
    compared = "the same as" if difference == SAME else f"{difference or 'no number'} against"
    others = count_worse(judged.now.metrics or {}, judged.base.metrics or {}, besides=name)
    also = f" ({others} other metrics are worse)" if others else ""
    return f"{told}, {compared} {code(judged.base.name)}{also}"


def _tell_open(verdict: GateVerdict) -> str:
    unjudged = [ruling.name for ruling in verdict.rules if ruling.passed is None]
    return f"not judged: {listed(unjudged, NAMED)}" if unjudged else "nothing to do"


def _tell_failure(ruling: RuleResult) -> str:
    note = f", {code(ruling.note)}" if ruling.note else ""
    seen = f"{figure(ruling.value)}{between(ruling.low, ruling.high)}"
    return f"{code(ruling.name)}: {code(ruling.metric)} is {seen}{note}, asked {code(ruling.required)}"


def _bounds(interval: Interval | None) -> str:
    return "" if interval is None else between(interval.low, interval.high)


def tabulate_gate(judged: Judged, rows: int) -> str:
    """Lay out the rules: those that fail first, then those not judged."""
    if judged.verdict is None or judged.trouble is not None:
        return ""
    rulings = sorted(
        judged.verdict.rules, key=lambda ruling: (ruling.passed is not False, ruling.passed is True)
    )
    header = ["rule, and what it asks", "seen"]
    cells = [_describe(ruling) for ruling in rulings[:rows]]
    if judged.base is not None:
        before = _find_before(judged.base)
        header += ["base", "change"]
        cells = [[*row, *_compare(ruling, before)] for row, ruling in zip(cells, rulings[:rows], strict=True)]
    passed = sum(ruling.passed is True for ruling in rulings)
    more = (
        f"\n\nThe first {rows} of {len(rulings):,} rules; {passed:,} of all pass."
        if len(rulings) > rows
        else ""
    )
    return table(header, cells, numbers=len(header) - 2) + more


def _describe(ruling: RuleResult) -> list[str]:
    note = "" if BASE_NOTE.fullmatch(ruling.note) else ruling.note
    seen = "undefined" if ruling.value is None else figure(ruling.value)
    return [
        f"{MARKS[ruling.passed]} {code(ruling.name)}\n{code(f'{ruling.metric} {ruling.required}')}",
        f"{seen}{between(ruling.low, ruling.high)}" + (f"\n{code(note)}" if note else ""),
    ]


def _compare(ruling: RuleResult, before: Mapping[tuple[str, str], object]) -> list[str]:
    value = before.get((ruling.name, ruling.metric), before.get(("", ruling.metric)))
    return [NOTHING if value is None else figure(value), change(ruling.value, value)]


def _find_before(base: Snapshot) -> dict[tuple[str, str], object]:
    """Find what the base had: a metric as such, and what a rule on the worst class saw, which is no metric."""
    found: dict[tuple[str, str], object] = {}
    for values in (base.metrics, base.times):
        found |= {("", name): value for name, value in (values or {}).items()}
    rules = base.verdict.rules if base.verdict else ()
    return found | {
        (ruling.name, ruling.metric): ruling.value for ruling in rules if ruling.value is not None
    }
