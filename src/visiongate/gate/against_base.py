"""The verdict that `evaluate` wrote, read with care, and its rules on the largest drop judged against a base.

Files that a person, a merge or a stranger may have touched are read: what they hold is checked before it is believed.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeGuard

from pydantic import TypeAdapter, ValidationError

from visiongate.errors import DataError
from visiongate.gate.rules import Evidence, Ruling, Verdict, judge, spell
from visiongate.records.interval import Interval
from visiongate.settings.gate import Rule

_VERDICT = TypeAdapter(Verdict)


def parse_verdict(text: str, source: str) -> Verdict:
    """Read the content of ``reports/gate.json``.

    Args:
        text: JSON, as `evaluate` writes it.
        source: Where it comes from, for the message.

    Raises:
        DataError: It is no verdict, or says of itself that it passed where a rule failed.
    """
    try:
        verdict = _VERDICT.validate_json(text, strict=True)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise DataError(f"{source} holds no verdict: {where or 'it'}: {problem['msg']}") from None
    if verdict.passed is not all(ruling.passed is not False for ruling in verdict.rules):
        raise DataError(f"{source} contradicts itself: `passed` is not what its rules say")
    return verdict


def parse_metrics(text: str, source: str) -> dict[str, float]:
    """Read metrics by name; what is not a finite number is left out, for it proves nothing.

    Args:
        text: JSON, as `evaluate` writes it.
        source: Where it comes from, for the message.

    Raises:
        DataError: It is no JSON, or no object.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise DataError(f"{source} holds no metrics by name")
    return {name: value for name, value in found.items() if is_finite(value)}


def is_finite(value: object) -> TypeGuard[int | float]:
    """Tell whether a value is a number that can be compared and printed; a truth value is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond every float
        return False


def judge_against(
    verdict: Verdict, rules: Mapping[str, Rule], metrics: Mapping[str, float], base: Mapping[str, float]
) -> Verdict:
    """Return the verdict with the rules that need a base judged too.

    Args:
        verdict: As `evaluate` wrote it.
        rules: By name, the same that it was judged by.
        metrics: Of the model.
        base: Of what it is to replace; may be empty.
    """
    drops = {name: rule for name, rule in rules.items() if rule.max_drop is not None}
    judged = {ruling.name: ruling for ruling in judge(drops, Evidence(metrics), base).rules}
    found = tuple(_with_interval(judged.get(ruling.name, ruling), ruling) for ruling in verdict.rules)
    return Verdict(all(ruling.passed is not False for ruling in found), found)


def judge_anew(figures: Verdict, rules: Mapping[str, Rule]) -> Verdict:
    """Judge by rules of ours what a verdict of somebody else's says was seen; what it says of passing is not believed.

    Args:
        figures: Of a run, with a ruling for each rule; a rule that it has no ruling for fails.
        rules: By name. Those on the largest drop are left open, for `judge_against`.
    """
    seen = {(ruling.name, ruling.metric): ruling for ruling in figures.rules}
    rulings = [_judge_one(name, rule, seen.get((name, rule.metric))) for name, rule in rules.items()]
    return Verdict(all(ruling.passed is not False for ruling in rulings), tuple(rulings))


def _judge_one(name: str, rule: Rule, seen: Ruling | None) -> Ruling:
    evidence = Evidence({})
    if seen is not None and is_finite(seen.value):
        intervals: dict[str, Interval] = {}
        if is_finite(seen.low) and is_finite(seen.high):
            intervals[rule.metric] = Interval(seen.value, seen.low, seen.high)
        evidence = Evidence({rule.metric: seen.value}, intervals)
    # Of the classes the run told the worst: its figures are held against the rule like those of all images.
    alone = rule.model_copy(update={"classes": None})
    (ruling,) = judge({name: alone}, evidence).rules
    note = seen.note if seen is not None and rule.classes is not None else ruling.note
    return replace(ruling, asked=spell(rule), note=note)


def is_judged_by(verdict: Verdict, rules: Mapping[str, Rule]) -> bool:
    """Tell whether a verdict is by these rules and no others."""
    asked = [(name, rule.metric, spell(rule)) for name, rule in rules.items()]
    return [(ruling.name, ruling.metric, ruling.asked) for ruling in verdict.rules] == asked


def _with_interval(judged: Ruling, before: Ruling) -> Ruling:
    return replace(judged, low=before.low, high=before.high)
