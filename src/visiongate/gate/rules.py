"""The quality gate: what a model must show. Its verdict is data; whoever reads it decides what follows."""

import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from visiongate.records.interval import Interval
from visiongate.records.metrics import lower_is_better
from visiongate.settings.gate import Rule

_COMPARE = {">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt}
NO_BASE = "no base to compare with: make gate BASE=main"


@dataclass(frozen=True, slots=True)
class Ruling:
    """A rule, and what came of it."""

    name: str
    metric: str
    asked: str  # in words
    value: float | None  # None when the metric is undefined on these images
    low: float | None  # of its interval, where it has one
    high: float | None
    margin: float | None  # by how much it holds, or by how much it fails where negative, in the metric's unit
    passed: bool | None  # None where it is not judged
    note: str = ""  # which class, or why it is not judged

    def __str__(self) -> str:
        """Say it in one line, such as ``accuracy: 0.95, asked >= 0.97``."""
        value = "undefined" if self.value is None else f"{self.value:.4g}"
        interval = "" if self.low is None or self.high is None else f" ({self.low:.4g} to {self.high:.4g})"
        note = f"; {self.note}" if self.note else ""
        return f"{self.name}: {self.metric} {value}{interval}, asked {self.asked}{note}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """All rules together: passed if none fails."""

    passed: bool
    rules: tuple[Ruling, ...]

    @property
    def failed(self) -> tuple[Ruling, ...]:
        """The rules that are not met."""
        return tuple(ruling for ruling in self.rules if ruling.passed is False)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of the model."""

    metrics: Mapping[str, float]
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    classes: Mapping[str, Mapping[str, Interval]] = field(default_factory=dict)  # by metric and class
    names: Sequence[str] = ()  # of all classes, with test images or not


def judge(rules: Mapping[str, Rule], evidence: Evidence, base: Mapping[str, float] | None = None) -> Verdict:
    """Hold each rule against its metric. A metric that is undefined on these images proves nothing, and fails its rule.

    Args:
        rules: By name.
        evidence: Of the model.
        base: Metrics of what the model is to replace; without them the rules on ``max_drop`` are not judged.
    """
    rulings = tuple(ruling for name, rule in rules.items() for ruling in _rule(name, rule, evidence, base))
    return Verdict(all(ruling.passed is not False for ruling in rulings), rulings)


def _rule(name: str, rule: Rule, evidence: Evidence, base: Mapping[str, float] | None) -> Iterator[Ruling]:
    if rule.max_drop is not None:
        yield _judge_drop(name, rule, rule.max_drop, evidence, base)
    elif rule.classes is not None:
        yield _judge_classes(name, rule, evidence)
    else:
        value, interval = evidence.metrics.get(rule.metric), evidence.intervals.get(rule.metric)
        yield _judge_value(_blank(name, rule), rule, value, interval)


def _blank(name: str, rule: Rule) -> Ruling:
    """A rule that nothing is held against yet."""
    return Ruling(name, rule.metric, spell(rule), None, None, None, None, passed=False)


def spell(rule: Rule) -> str:
    """Say in words what a rule asks."""
    if rule.max_drop is not None:
        return f"{'rise' if lower_is_better(rule.metric) else 'drop'} of at most {rule.max_drop:g}"
    bound = " at the worse bound" if rule.bound == "worst" else ""
    each = (
        ""
        if rule.classes is None
        else " each"
        if rule.classes == "all"
        else f" for {', '.join(rule.classes)}"
    )
    return f"{rule.comparison} {rule.threshold:g}{bound}{each}"


def _judge_value(blank: Ruling, rule: Rule, value: float | None, interval: Interval | None) -> Ruling:
    if value is None or rule.threshold is None or rule.comparison is None:
        return replace(blank, note=blank.note or f"{rule.metric} is undefined on these images")
    low, high = (interval.low, interval.high) if interval else (None, None)
    seen = replace(blank, value=value, low=low, high=high)
    at_least = rule.comparison in {">=", ">"}
    held = value if rule.bound == "point" else low if at_least else high
    if held is None:
        return replace(seen, note=f"{rule.metric} has no interval: ask for its point")
    margin = held - rule.threshold if at_least else rule.threshold - held
    return replace(seen, margin=margin, passed=bool(_COMPARE[rule.comparison](held, rule.threshold)))


def _judge_classes(name: str, rule: Rule, evidence: Evidence) -> Ruling:
    """Hold the rule against each class, and return the ruling of the one that fares worst."""
    blank, found = _blank(name, rule), evidence.classes.get(rule.metric, {})
    wanted = list(evidence.names) if rule.classes == "all" or rule.classes is None else rule.classes
    unknown = [each for each in wanted if each not in evidence.names]
    if unknown:
        return replace(
            blank, note=f"there is no class {', '.join(unknown)}: the classes are {', '.join(evidence.names)}"
        )
    missing = [each for each in wanted if each not in found]
    if missing or not wanted:
        return replace(blank, note=f"no test image of {', '.join(missing) or 'any class'}")
    rulings = [
        _judge_value(replace(blank, note=f"class {each}"), rule, found[each].value, found[each])
        for each in wanted
    ]
    return min(rulings, key=lambda ruling: -1.0 if ruling.margin is None else ruling.margin)


def _judge_drop(
    name: str, rule: Rule, most: float, evidence: Evidence, base: Mapping[str, float] | None
) -> Ruling:
    """Hold the model against the base; what counts as a drop of a loss is its rise."""
    value, interval = evidence.metrics.get(rule.metric), evidence.intervals.get(rule.metric)
    low, high = (interval.low, interval.high) if interval else (None, None)
    ruling = Ruling(name, rule.metric, spell(rule), value, low, high, None, passed=None)
    if base is None:
        return replace(ruling, note=NO_BASE)
    before = base.get(rule.metric)
    if before is None:
        return replace(ruling, note="the base has no such metric")
    if value is None:
        return replace(ruling, passed=False, note=f"{rule.metric} is undefined on these images")
    lost = value - before if lower_is_better(rule.metric) else before - value
    return replace(ruling, margin=most - lost, passed=lost <= most, note=f"the base has {before:.4g}")


def read_verdict(content: Mapping[str, Any]) -> Verdict:
    """Build a verdict again from what ``asdict`` made of it."""
    return Verdict(content["passed"], tuple(Ruling(**rule) for rule in content["rules"]))
