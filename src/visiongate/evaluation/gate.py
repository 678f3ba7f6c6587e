"""The quality gate: what a model must show. Its verdict is data; whoever reads it decides what follows."""

import operator
from collections.abc import Mapping
from dataclasses import dataclass

from visiongate.config import Rule

_COMPARE = {">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt}


@dataclass(frozen=True, slots=True)
class Ruling:
    """A rule, and what came of it."""

    name: str
    metric: str
    comparison: str
    threshold: float
    value: float | None  # None when the metric is undefined on these images
    passed: bool

    def __str__(self) -> str:
        """Say it in one line, such as ``accuracy: accuracy 0.95 is not >= 0.97``."""
        value = "undefined" if self.value is None else f"{self.value:.4g}"
        return f"{self.name}: {self.metric} {value} {'is' if self.passed else 'is not'} {self.comparison} {self.threshold:g}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """All rules together: passed if each is."""

    passed: bool
    rules: tuple[Ruling, ...]

    @property
    def failed(self) -> tuple[Ruling, ...]:
        """The rules that are not met."""
        return tuple(ruling for ruling in self.rules if not ruling.passed)


def judge(rules: Mapping[str, Rule], metrics: Mapping[str, float]) -> Verdict:
    """Hold each rule against its metric. A metric that is undefined on these images proves nothing, and fails its rule."""
    rulings = tuple(_rule(name, rule, metrics.get(rule.metric)) for name, rule in rules.items())
    return Verdict(all(ruling.passed for ruling in rulings), rulings)


def _rule(name: str, rule: Rule, value: float | None) -> Ruling:
    passed = value is not None and bool(_COMPARE[rule.comparison](value, rule.threshold))
    return Ruling(name, rule.metric, rule.comparison, rule.threshold, value, passed)
