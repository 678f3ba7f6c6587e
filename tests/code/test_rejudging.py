"""Verdicts and metrics from untrusted files."""

import json
from dataclasses import asdict

import pytest

from visiongate.errors import DataError
from visiongate.gate.rejudging import compare_with_base, has_same_rules
from visiongate.gate.rules import Measured, apply_rules
from visiongate.records.evaluation import parse_metrics
from visiongate.records.interval import Interval
from visiongate.records.verdict import parse_verdict
from visiongate.settings.gate import Rule

RULES = {
    "floor": Rule(metric="accuracy", comparison=">=", threshold=0.8),
    "drop": Rule(metric="accuracy", max_drop=0.02),
}
VERDICT = apply_rules(RULES, Measured({"accuracy": 0.9}, {"accuracy": Interval(0.9, 0.8, 0.95)}))


def test_a_verdict_is_read_as_it_was_written() -> None:
    assert parse_verdict(json.dumps(asdict(VERDICT)).encode(), "gate.json") == VERDICT


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<<<<<<< HEAD", "Invalid JSON"),
        ("[" * 5000, "Invalid JSON"),
        ("[1]", "Input should be"),
        ('{"passed": true}', "rules: Field required"),
        ('{"passed": "yes", "rules": []}', "passed: Input should be a valid boolean"),
        (
            json.dumps(asdict(VERDICT)).replace("0.9,", '"high",', 1),
            "value: Input should be a valid number",
        ),
    ],
    ids=["conflict", "deep", "list", "half", "text", "no number"],
)
def test_an_invalid_verdict_is_refused_by_its_key(text: str, message: str) -> None:
    with pytest.raises(DataError, match=r"^gate\.json: ") as refused:
        parse_verdict(text.encode(), "gate.json")
    assert message in str(refused.value)


def test_a_verdict_that_contradicts_its_rules_is_refused() -> None:
    content = asdict(VERDICT)
    content["rules"][0]["passed"] = False
    with pytest.raises(DataError, match="contradicts"):
        parse_verdict(json.dumps(content).encode(), "gate.json")


@pytest.mark.parametrize(
    "text", ["[1]", "<<<<<<< HEAD", "[" * 5000, ""], ids=["list", "conflict", "deep", "empty"]
)
def test_invalid_metrics_are_refused(text: str) -> None:
    with pytest.raises(DataError, match=r"^metrics\.json: "):
        parse_metrics(text.encode(), "metrics.json")


@pytest.mark.parametrize(
    ("base", "passed"), [({"accuracy": 0.91}, True), ({"accuracy": 0.93}, False), ({}, None)]
)
def test_the_rules_on_a_drop_are_judged_and_keep_their_interval(
    base: dict[str, float], passed: object
) -> None:
    found = compare_with_base(VERDICT, RULES, {"accuracy": 0.9}, base)

    assert found.rules[0] == VERDICT.rules[0]
    assert found.rules[1].passed is passed
    assert (found.rules[1].low, found.rules[1].high) == (0.8, 0.95)
    assert found.passed is (passed is not False)


def test_a_verdict_belongs_to_its_rules() -> None:
    assert has_same_rules(VERDICT, RULES)
    assert not has_same_rules(
        VERDICT, {**RULES, "floor": Rule(metric="accuracy", comparison=">=", threshold=0.7)}
    )
    assert not has_same_rules(VERDICT, {"floor": RULES["floor"]})
