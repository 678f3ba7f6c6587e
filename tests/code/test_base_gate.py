"""Verdicts and metrics out of files that anyone may have written."""

import json
import math
from dataclasses import asdict

import pytest

from visiongate.errors import DataError
from visiongate.gate.against_base import (
    is_finite,
    is_judged_by,
    judge_against,
    parse_metrics,
    parse_verdict,
)
from visiongate.gate.rules import Evidence, judge
from visiongate.records.interval import Interval
from visiongate.settings.gate import Rule

RULES = {
    "floor": Rule(metric="accuracy", comparison=">=", threshold=0.8),
    "drop": Rule(metric="accuracy", max_drop=0.02),
}
VERDICT = judge(RULES, Evidence({"accuracy": 0.9}, {"accuracy": Interval(0.9, 0.8, 0.95)}))


def test_a_verdict_is_read_as_it_was_written() -> None:
    assert parse_verdict(json.dumps(asdict(VERDICT)), "gate.json") == VERDICT


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("<<<<<<< HEAD", "it: Invalid JSON"),
        ("[" * 5000, "it: Invalid JSON"),
        ("[1]", "it: Input should be"),
        ('{"passed": true}', "rules: Field required"),
        ('{"passed": "yes", "rules": []}', "passed: Input should be a valid boolean"),
        (
            json.dumps(asdict(VERDICT)).replace("0.9,", '"high",', 1),
            "rules.0.value: Input should be a valid number",
        ),
    ],
    ids=["conflict", "deep", "list", "half", "text", "no number"],
)
def test_what_is_no_verdict_is_refused_by_its_key(text: str, told: str) -> None:
    with pytest.raises(DataError, match=r"^gate\.json holds no verdict: ") as refused:
        parse_verdict(text, "gate.json")
    assert told in str(refused.value)


def test_a_verdict_that_contradicts_its_rules_is_not_believed() -> None:
    content = asdict(VERDICT)
    content["rules"][0]["passed"] = False
    with pytest.raises(DataError, match="contradicts itself"):
        parse_verdict(json.dumps(content), "gate.json")


def test_metrics_are_the_finite_numbers() -> None:
    text = '{"a": 0.5, "b": NaN, "c": "0.5", "d": true, "e": null, "f": 1e999, "g": 3, "h": {"i": 1}}'
    assert parse_metrics(text, "metrics.json") == {"a": 0.5, "g": 3}
    assert parse_metrics(json.dumps({"huge": 10**400}), "metrics.json") == {}


@pytest.mark.parametrize(
    "text", ["[1]", "<<<<<<< HEAD", "[" * 5000, ""], ids=["list", "conflict", "deep", "empty"]
)
def test_what_holds_no_metrics_is_refused(text: str) -> None:
    with pytest.raises(DataError, match=r"^metrics\.json holds no metrics by name$"):
        parse_metrics(text, "metrics.json")


def test_what_is_finite() -> None:
    assert all(is_finite(value) for value in (0, -1.5, 10**300))
    assert not any(is_finite(value) for value in (math.nan, math.inf, 10**400, True, "1", None, [1]))


@pytest.mark.parametrize(
    ("base", "passed"), [({"accuracy": 0.91}, True), ({"accuracy": 0.93}, False), ({}, None)]
)
def test_the_rules_on_a_drop_are_judged_and_keep_their_interval(
    base: dict[str, float], passed: object
) -> None:
    found = judge_against(VERDICT, RULES, {"accuracy": 0.9}, base)

    assert found.rules[0] == VERDICT.rules[0]
    assert found.rules[1].passed is passed
    assert (found.rules[1].low, found.rules[1].high) == (0.8, 0.95)
    assert found.passed is (passed is not False)


def test_a_verdict_belongs_to_its_rules() -> None:
    assert is_judged_by(VERDICT, RULES)
    assert not is_judged_by(
        VERDICT, {**RULES, "floor": Rule(metric="accuracy", comparison=">=", threshold=0.7)}
    )
    assert not is_judged_by(VERDICT, {"floor": RULES["floor"]})
