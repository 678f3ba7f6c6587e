"""Decisions, and the sentences that give their reasons."""

import pytest

from visiongate.evaluation.comparison import Comparison
from visiongate.evaluation.gate import Ruling
from visiongate.tracking.promotion import accept_unlike, judge, reject

RULING = Ruling("floor", "accuracy", ">=", threshold=0.97, value=0.9512, passed=False)


@pytest.mark.parametrize(
    ("p_value", "verdict", "sentence"),
    [
        (
            0.0107,
            "promoted",
            "better: right on 9 of 270 images that champion version 4 gets wrong, and wrong on 1 that ",
        ),
        (
            0.05,
            "registered",
            "not shown to be better: right on 9 of 270 images that champion version 4 gets wrong, and ",
        ),
    ],
)
def test_challenger_must_be_shown_to_be_better(p_value: float, verdict: str, sentence: str) -> None:
    decision = judge("4", Comparison(270, 9, 1, p_value), alpha=0.05)
    assert decision.verdict == verdict
    assert decision.reason.startswith(sentence)
    sign = "<" if verdict == "promoted" else ">="
    assert decision.reason.endswith(f"(one-sided exact McNemar p = {p_value:g} {sign} 0.05)")


def test_rejection_names_each_broken_rule() -> None:
    undefined = Ruling("calibration", "ece", "<=", threshold=0.05, value=None, passed=False)
    decision = reject([RULING, undefined], is_champion=False)
    assert decision.verdict == "rejected"
    assert decision.reason == f"the gate failed: {RULING}; {undefined}"
    assert "accuracy 0.9512 is not >= 0.97" in decision.reason


def test_rejected_champion_is_said_to_stay() -> None:
    assert reject([RULING], is_champion=True).reason.endswith("; it stays champion until another is promoted")


def test_what_cannot_be_compared_is_not_promoted() -> None:
    decision = accept_unlike("4", "it has classes a, b, not a, c")
    assert decision.verdict == "registered"
    assert decision.reason.endswith("champion version 4 cannot be compared: it has classes a, b, not a, c")
