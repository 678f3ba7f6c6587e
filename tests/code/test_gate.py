"""The gate: rules in, verdict out."""

import pytest

from visiongate.config import Rule
from visiongate.evaluation.gate import judge


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
    rules = {"rule": Rule(metric="accuracy", comparison=comparison, threshold=0.8)}  # type: ignore[arg-type]

    passed = [judge(rules, {"accuracy": value}).passed for value in (0.79, 0.8, 0.81)]

    assert passed == [below, equal, above]


def test_one_failed_rule_fails_the_gate_and_is_named() -> None:
    rules = {
        "accuracy": Rule(metric="accuracy", comparison=">=", threshold=0.97),
        "calibration": Rule(metric="ece", comparison="<=", threshold=0.05),
    }

    verdict = judge(rules, {"accuracy": 0.98, "ece": 0.0625})

    assert not verdict.passed
    assert [str(ruling) for ruling in verdict.failed] == ["calibration: ece 0.0625 is not <= 0.05"]
    assert str(verdict.rules[0]) == "accuracy: accuracy 0.98 is >= 0.97"
    assert [ruling.value for ruling in verdict.rules] == [0.98, 0.0625]


def test_an_undefined_metric_fails_its_rule() -> None:
    verdict = judge({"auc": Rule(metric="roc_auc", comparison=">=", threshold=0.0)}, {"accuracy": 1.0})

    assert not verdict.passed
    assert verdict.rules[0].value is None
    assert str(verdict.rules[0]) == "auc: roc_auc undefined is not >= 0"
