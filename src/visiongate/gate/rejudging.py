"""An earlier verdict, evaluated again: against a base, or by the rules of this work tree."""

from collections.abc import Mapping
from dataclasses import replace

from visiongate.gate.rules import Measured, apply_rules, describe_rule
from visiongate.records.interval import Interval
from visiongate.records.parsing import is_finite
from visiongate.records.verdict import GateVerdict, RuleResult
from visiongate.settings.gate import Rule


def compare_with_base(
    verdict: GateVerdict, rules: Mapping[str, Rule], metrics: Mapping[str, float], base: Mapping[str, float]
) -> GateVerdict:
    """Return a verdict in which the rules that need a base are evaluated.

    Args:
        verdict: As `evaluate` wrote it.
        rules: By name, those that the verdict is about.
        metrics: Of the model.
        base: Of the model to compare with; may be empty.
    """
    drops = {name: rule for name, rule in rules.items() if rule.max_drop is not None}
    judged = {result.name: result for result in apply_rules(drops, Measured(metrics), base).rules}
    return GateVerdict.of(
        [replace(judged.get(each.name, each), low=each.low, high=each.high) for each in verdict.rules]
    )


def skip_drops(verdict: GateVerdict, rules: Mapping[str, Rule], reason: str) -> GateVerdict:
    """Return a verdict in which the rules that need a base are not evaluated.

    Args:
        verdict: As `evaluate` wrote it.
        rules: By name, those that the verdict is about.
        reason: Why there is nothing to compare with.
    """
    return GateVerdict.of(
        [
            replace(each, note=reason) if rules[each.name].max_drop is not None else each
            for each in verdict.rules
        ]
    )


def apply_own_rules(figures: GateVerdict, rules: Mapping[str, Rule]) -> GateVerdict:
    """Apply the rules of this work tree to the values in the verdict of another run, whose results are not trusted.

    Args:
        figures: The verdict of the run. A rule without a result in it fails.
        rules: By name. Those with ``max_drop`` are left for `compare_with_base`.
    """
    results = {(result.name, result.metric): result for result in figures.rules}
    return GateVerdict.of(
        [_apply_to_result(name, rule, results.get((name, rule.metric))) for name, rule in rules.items()]
    )


def has_same_rules(verdict: GateVerdict, rules: Mapping[str, Rule]) -> bool:
    """Return whether a verdict is about these rules and no others."""
    expected = [(name, rule.metric, describe_rule(rule)) for name, rule in rules.items()]
    return [(result.name, result.metric, result.required) for result in verdict.rules] == expected


def _apply_to_result(name: str, rule: Rule, result: RuleResult | None) -> RuleResult:
    measured = Measured({})
    if result is not None and is_finite(result.value):
        intervals: dict[str, Interval] = {}
        if is_finite(result.low) and is_finite(result.high):
            intervals[rule.metric] = Interval(result.value, result.low, result.high)
        measured = Measured({rule.metric: result.value}, intervals)
    # The run has the value of its worst class, which is compared like a metric of all images.
    without_classes = rule.model_copy(update={"classes": None})
    (judged,) = apply_rules({name: without_classes}, measured).rules
    note = result.note if result is not None and rule.classes is not None else judged.note
    return replace(judged, required=describe_rule(rule), note=note)
