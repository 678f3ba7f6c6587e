"""The quality gate: rules applied to what was measured of a model. The verdict is data; no stage fails because of it."""

import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from visiongate.records.interval import Interval
from visiongate.records.metrics import lower_is_better
from visiongate.records.verdict import GateVerdict, RuleResult
from visiongate.settings.gate import Rule

_COMPARE = {">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt}
# The accuracy of the baseline, by the gain over it.
_BASELINES = {"gain_over_majority": "majority_accuracy", "gain_over_linear": "linear_accuracy"}
NO_BASE = "no base to compare with; run `visiongate gate --base main`"


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of a model.

    Attributes:
        metrics: Values by name.
        intervals: Intervals by metric.
        classes: Intervals by metric and class.
        names: Of all classes, also those without test images.
    """

    metrics: Mapping[str, float]
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    classes: Mapping[str, Mapping[str, Interval]] = field(default_factory=dict)
    names: Sequence[str] = ()


def apply_rules(
    rules: Mapping[str, Rule], measured: Measured, base: Mapping[str, float] | None = None
) -> GateVerdict:
    """Apply each rule to its metric. A metric that is undefined for this data fails its rule.

    Args:
        rules: By name.
        measured: Of the model.
        base: Metrics of the model to compare with; without them the rules with ``max_drop`` are not evaluated.
    """
    return GateVerdict.of(
        [result for name, rule in rules.items() for result in _apply(name, rule, measured, base)]
    )


def describe_rule(rule: Rule) -> str:
    """Return what a rule requires, as text."""
    if rule.max_drop is not None:
        return f"{'rise' if lower_is_better(rule.metric) else 'drop'} of at most {rule.max_drop:g}"
    bound = {"point": "", "worst": " at the worse bound", "best": " at the better bound"}[rule.bound]
    names = "each class" if rule.classes == "all" else ", ".join(rule.classes or ())
    return f"{rule.comparison} {rule.threshold:g}{bound}{f' for {names}' if names else ''}"


def _apply(
    name: str, rule: Rule, measured: Measured, base: Mapping[str, float] | None
) -> Iterator[RuleResult]:
    if rule.max_drop is not None:
        yield _apply_drop(name, rule, measured, base)
    elif rule.classes is not None:
        yield _apply_to_classes(name, rule, measured)
    else:
        value, interval = measured.metrics.get(rule.metric), measured.intervals.get(rule.metric)
        result = _compare(_failed(name, rule), _limit_gain(rule, measured.metrics), value, interval)
        yield replace(
            result, note=result.note or _estimate_images(result, rule, measured.metrics.get("images"))
        )


def _limit_gain(rule: Rule, metrics: Mapping[str, float]) -> Rule:
    """Require no larger gain over a baseline than a model without mistakes has."""
    baseline = metrics.get(_BASELINES.get(rule.metric, ""))
    if baseline is None or rule.threshold is None or rule.bound == "worst":
        return rule
    return rule.model_copy(update={"threshold": min(rule.threshold, 1 - baseline)})


def _failed(name: str, rule: Rule) -> RuleResult:
    """Return the result of a rule before anything is measured."""
    return RuleResult(name, rule.metric, describe_rule(rule), None, None, None, None, passed=False)


def _compare(result: RuleResult, rule: Rule, value: float | None, interval: Interval | None) -> RuleResult:
    if value is None or rule.threshold is None or rule.comparison is None:
        return replace(result, note=result.note or f"{rule.metric} is undefined for this data")
    low, high = (interval.low, interval.high) if interval else (None, None)
    result = replace(result, value=value, low=low, high=high)
    higher_passes = rule.comparison in {">=", ">"}
    compared = {
        "point": value,
        "worst": low if higher_passes else high,
        "best": high if higher_passes else low,
    }[rule.bound]
    if compared is None:
        return replace(result, note=f"{rule.metric} has no interval; use `bound: point`")
    margin = compared - rule.threshold if higher_passes else rule.threshold - compared
    return replace(result, margin=margin, passed=bool(_COMPARE[rule.comparison](compared, rule.threshold)))


def _estimate_images(result: RuleResult, rule: Rule, images: float | None) -> str:
    """Return how many images would narrow the interval enough, if only its width fails the rule."""
    if result.passed or rule.bound != "worst" or images is None or rule.threshold is None:
        return ""
    worst = result.low if rule.comparison in {">=", ">"} else result.high
    if result.value is None or worst is None:
        return ""
    distance, half_width = result.value - rule.threshold, result.value - worst
    if distance * half_width <= 0:
        return ""
    # The width of an interval shrinks with the square root of the number of images.
    needed = images * (half_width / distance) ** 2
    return f"{images:.0f} images are too few to be sure; about {float(f'{needed:.2g}'):,.0f} are needed at this value"


def _apply_to_classes(name: str, rule: Rule, measured: Measured) -> RuleResult:
    """Apply a rule to each of its classes; return the result of the worst class."""
    failed, intervals = _failed(name, rule), measured.classes.get(rule.metric, {})
    classes = rule.classes if isinstance(rule.classes, list) else list(measured.names)
    unknown = [each for each in classes if each not in measured.names]
    if unknown:
        known = ", ".join(measured.names)
        return replace(failed, note=f"unknown class {', '.join(unknown)}; the classes are {known}")
    empty = [each for each in classes if each not in intervals]
    if empty or not classes:
        return replace(failed, note=f"no test image of {', '.join(empty) or 'any class'}")
    results = [
        _compare(replace(failed, note=f"class {each}"), rule, intervals[each].value, intervals[each])
        for each in classes
    ]
    return min(results, key=lambda result: -1.0 if result.margin is None else result.margin)


def _apply_drop(name: str, rule: Rule, measured: Measured, base: Mapping[str, float] | None) -> RuleResult:
    """Compare with the base. If lower is better, a rise counts as a drop."""
    value, interval = measured.metrics.get(rule.metric), measured.intervals.get(rule.metric)
    low, high = (interval.low, interval.high) if interval else (None, None)
    result = replace(_failed(name, rule), value=value, low=low, high=high, passed=None)
    if base is None or rule.max_drop is None:
        return replace(result, note=NO_BASE)
    before = base.get(rule.metric)
    if before is None:
        return replace(result, note="the base does not have this metric")
    if value is None:
        return replace(result, passed=False, note=f"{rule.metric} is undefined for this data")
    drop = value - before if lower_is_better(rule.metric) else before - value
    return replace(
        result, margin=rule.max_drop - drop, passed=drop <= rule.max_drop, note=f"base: {before:.4g}"
    )
