"""The gate: rules and evidence in, verdict out."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from visiongate.gate.rules import NO_BASE, Measured, apply_rules, describe_rule
from visiongate.records.interval import Interval
from visiongate.records.verdict import RuleResult, read_verdict, write_verdict
from visiongate.settings.gate import Rule

ACCURACY = {"metric": "accuracy", "comparison": ">=", "threshold": 0.8}
CLASSES = {
    "recall": {
        "cat": Interval(0.9, 0.8, 0.95),
        "dog": Interval(0.7, 0.6, 0.8),
        "owl": Interval(0.75, 0.2, 0.99),
    }
}

NAMES = ("cat", "dog", "owl")


def rule(**values: Any) -> Rule:  # noqa: ANN401
    return Rule.model_validate(values)


def ruling(values: dict[str, Any], evidence: Measured, base: dict[str, float] | None = None) -> RuleResult:
    [result] = apply_rules({"rule": rule(**values)}, evidence, base).rules
    return result


@pytest.mark.parametrize(
    ("comparison", "below", "equal", "above"),
    [
        (">=", False, True, True),
        (">", False, False, True),
        ("<=", True, True, False),
        ("<", True, False, False),
    ],
)
def test_comparisons(comparison: str, below: bool, equal: bool, above: bool) -> None:  # noqa: FBT001
    requirement = {**ACCURACY, "comparison": comparison}

    passed = [ruling(requirement, Measured({"accuracy": value})).passed for value in (0.79, 0.8, 0.81)]

    assert passed == [below, equal, above]


def test_one_failed_rule_fails_the_gate_and_is_described() -> None:
    rules = {
        "accuracy": rule(metric="accuracy", comparison=">=", threshold=0.97),
        "calibration": rule(metric="ece", comparison="<=", threshold=0.05),
    }

    verdict = apply_rules(rules, Measured({"accuracy": 0.98, "ece": 0.0625}))

    assert not verdict.passed
    assert [str(each) for each in verdict.failed] == ["calibration: ece 0.0625, required <= 0.05"]
    assert [each.margin for each in verdict.rules] == pytest.approx([0.01, -0.0125])


@pytest.mark.parametrize(
    ("comparison", "threshold", "passed", "margin"),
    [
        (">=", 0.8, False, -0.05),
        (">=", 0.7, True, 0.05),
        ("<=", 0.88, False, -0.02),
        ("<=", 0.95, True, 0.05),
    ],
)
def test_a_rule_can_require_the_worse_bound(
    comparison: str,
    threshold: float,
    passed: bool,  # noqa: FBT001
    margin: float,
) -> None:
    evidence = Measured({"accuracy": 0.85}, {"accuracy": Interval(0.85, 0.75, 0.9)})

    result = ruling(
        {"metric": "accuracy", "comparison": comparison, "threshold": threshold, "bound": "worst"}, evidence
    )

    assert result.passed is passed
    assert result.margin == pytest.approx(margin)
    assert (result.low, result.high) == (0.75, 0.9)
    assert result.required == f"{comparison} {threshold:g} at the worse bound"


@pytest.mark.parametrize(("threshold", "passed"), [(0.88, True), (0.92, False)])
def test_a_rule_can_require_that_the_images_do_not_show_a_failure(threshold: float, passed: bool) -> None:  # noqa: FBT001
    evidence = Measured({"accuracy": 0.85}, {"accuracy": Interval(0.85, 0.75, 0.9)})

    result = ruling({**ACCURACY, "threshold": threshold, "bound": "best"}, evidence)

    assert result.passed is passed
    assert result.required == f">= {threshold:g} at the better bound"


def test_a_rule_that_only_few_images_fail_says_how_many_are_needed() -> None:
    evidence = Measured({"accuracy": 0.85, "images": 40}, {"accuracy": Interval(0.85, 0.7, 0.93)})

    result = ruling({**ACCURACY, "threshold": 0.8, "bound": "worst"}, evidence)

    # The lower half of the interval has three times the width that is left.
    assert result.note == "40 images are too few to be sure; about 360 are needed at this value"
    assert not ruling({**ACCURACY, "threshold": 0.9, "bound": "worst"}, evidence).note


@pytest.mark.parametrize(("gain", "passed"), [(1 - 0.995, True), (0.004, False)])
def test_a_model_without_mistakes_beats_any_baseline(gain: float, passed: bool) -> None:  # noqa: FBT001
    rule = {"metric": "gain_over_linear", "comparison": ">=", "threshold": 0.01}

    result = ruling(rule, Measured({"gain_over_linear": gain, "linear_accuracy": 0.995}))

    assert (result.passed, result.required) == (passed, ">= 0.01")


def test_an_unknown_bound_fails_its_rule() -> None:
    result = ruling({**ACCURACY, "bound": "worst"}, Measured({"accuracy": 1.0}))

    assert result.passed is False
    assert "interval" in result.note


def test_an_undefined_metric_fails_its_rule() -> None:
    result = ruling({"metric": "roc_auc", "comparison": ">=", "threshold": 0.0}, Measured({"accuracy": 1.0}))

    assert (result.passed, result.value, result.margin) == (False, None, None)
    assert str(result).startswith("rule: roc_auc undefined, required >= 0; ")


@pytest.mark.parametrize(
    ("bound", "classes", "worst", "passed"),
    [
        ("point", "all", "dog", False),
        ("point", ["cat", "owl"], "owl", True),
        ("worst", "all", "owl", False),
        ("worst", ["cat"], "cat", True),
    ],
)
def test_a_threshold_applies_to_each_class_and_the_worst_is_reported(
    bound: str,
    classes: object,
    worst: str,
    passed: bool,  # noqa: FBT001
) -> None:
    requirement = {
        "metric": "recall",
        "comparison": ">=",
        "threshold": 0.72,
        "bound": bound,
        "classes": classes,
    }

    result = ruling(requirement, Measured({}, {}, CLASSES, NAMES))

    assert (result.passed, result.note) == (passed, f"class {worst}")
    assert result.value == CLASSES["recall"][worst].value


@pytest.mark.parametrize("classes", [["cat", "eel"], "all"])
def test_a_class_without_test_images_fails_its_rule(classes: object) -> None:
    requirement = {"metric": "recall", "comparison": ">=", "threshold": 0.1, "classes": classes}

    result = ruling(requirement, Measured({}, {}, CLASSES, (*NAMES, "eel")))

    assert (result.passed, result.note) == (False, "no test image of eel")


def test_an_unknown_class_is_reported() -> None:
    requirement = {"metric": "recall", "comparison": ">=", "threshold": 0.1, "classes": ["zebra"]}

    result = ruling(requirement, Measured({}, {}, CLASSES, NAMES))

    assert result.passed is False
    assert "zebra" in result.note


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ">= 0.8"),
        ({"bound": "worst"}, ">= 0.8 at the worse bound"),
        ({"metric": "recall", "classes": "all"}, ">= 0.8 for each class"),
        ({"metric": "recall", "classes": ["a", "b"]}, ">= 0.8 for a, b"),
        ({"comparison": None, "threshold": None, "max_drop": 0.1}, "drop of at most 0.1"),
        ({"metric": "ece", "comparison": None, "threshold": None, "max_drop": 0.1}, "rise of at most 0.1"),
    ],
)
def test_a_rule_is_described(changes: dict[str, Any], words: str) -> None:
    assert describe_rule(rule(**{**ACCURACY, **changes})) == words


@pytest.mark.parametrize(
    ("metric", "value", "before", "passed", "margin"),
    [
        ("accuracy", 0.88, 0.9, True, 0.005),
        ("accuracy", 0.87, 0.9, False, -0.005),
        ("accuracy", 0.95, 0.9, True, 0.075),
        ("log_loss", 0.32, 0.3, True, 0.005),
        ("log_loss", 0.33, 0.3, False, -0.005),
    ],
)
def test_a_drop_against_the_base_is_limited(
    metric: str,
    value: float,
    before: float,
    passed: bool,  # noqa: FBT001
    margin: float,
) -> None:
    result = ruling({"metric": metric, "max_drop": 0.025}, Measured({metric: value}), {metric: before})

    assert result.passed is passed
    assert result.margin == pytest.approx(margin)
    assert result.note == f"base: {before:g}"


def test_without_a_base_a_drop_is_not_judged_and_fails_nothing() -> None:
    verdict = apply_rules({"drop": rule(metric="accuracy", max_drop=0.01)}, Measured({"accuracy": 0.1}))

    assert verdict.passed
    assert verdict.rules[0].passed is None
    assert verdict.rules[0].note == NO_BASE
    without = ruling({"metric": "accuracy", "max_drop": 0.01}, Measured({"accuracy": 0.1}), {})
    assert without.passed is None


def test_a_metric_that_became_undefined_is_a_drop() -> None:
    assert ruling({"metric": "roc_auc", "max_drop": 0.01}, Measured({}), {"roc_auc": 0.9}).passed is False


def test_a_verdict_is_read_as_it_was_written(tmp_path: Path) -> None:
    verdict = apply_rules({"a": rule(**ACCURACY)}, Measured({"accuracy": 0.9}))
    write_verdict(tmp_path / "gate.json", verdict)
    assert read_verdict(tmp_path / "gate.json") == verdict


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"metric": "accuracy"}, "give either comparison and threshold, or max_drop"),
        ({**ACCURACY, "max_drop": 0.1}, "give either comparison and threshold, or max_drop"),
        ({"metric": "accuracy", "threshold": 0.1}, "comparison and threshold"),
        ({**ACCURACY, "classes": "all"}, "classes goes with the metrics recall, precision, f1"),
        ({**ACCURACY, "metric": "recall"}, "not with recall"),
        (
            {"metric": "accuracy", "max_drop": 0.1, "bound": "worst"},
            "max_drop takes neither classes nor bound",
        ),
    ],
)
def test_a_rule_that_contradicts_itself_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        rule(**values)
