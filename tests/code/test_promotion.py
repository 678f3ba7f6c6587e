"""Decisions and their reasons."""

from dataclasses import replace

import pytest

from visiongate.comparison.paired_test import Comparison
from visiongate.records.verdict import RuleResult
from visiongate.registration.gains import Gain
from visiongate.registration.promotion import (
    decide_by_gain,
    decide_by_test,
    exceeds_margin,
    hold,
    register_incomparable,
    register_rolled_back,
    reject,
)
from visiongate.settings.registry import NonInferiority

RULING = RuleResult("floor", "accuracy", ">= 0.97", 0.9512, None, None, -0.0188, passed=False)
COMPARISON = Comparison(
    metric="accuracy",
    champion=0.9407,
    challenger=0.9704,
    difference=0.0296,
    low=0.0092,
    high=0.0497,
    p_value=0.0107,
    test="exact McNemar",
    images=270,
    units=270,
    wins=9,
    losses=1,
)
REQUIRED = NonInferiority(margin=0.005, gain="size", by=0.2)
EQUAL = replace(COMPARISON, challenger=0.9407, difference=0.0, low=-0.004, high=0.004, p_value=0.5)


@pytest.mark.parametrize(("p_value", "action"), [(0.0107, "promoted"), (0.05, "registered")])
def test_a_challenger_must_be_significantly_better(p_value: float, action: str) -> None:
    decision = decide_by_test("4", replace(COMPARISON, p_value=p_value), alpha=0.05)
    assert decision.action == action
    for number in ("version 4", "0.9704", "0.9407", "0.0092 to 0.0497", "90%", "270", f"p = {p_value:g}"):
        assert number in decision.reason


def test_a_rejection_names_each_failed_rule() -> None:
    undefined = RuleResult("auc", "roc_auc", ">= 0.9", None, None, None, None, passed=False)
    decision = reject([RULING, undefined], is_champion=False)
    assert decision.action == "rejected"
    assert f"{RULING}; {undefined}" in decision.reason
    assert reject([RULING], is_champion=True).reason.endswith(
        "stays champion until another version is promoted"
    )


def test_a_model_without_a_commit_moves_no_alias() -> None:
    held = hold(decide_by_test("4", COMPARISON, alpha=0.05), "it is not committed: commit it")
    assert (held.action, held.moves_aliases, held.comparison) == ("registered", False, COMPARISON)
    assert held.reason.endswith("no alias moved, because it is not committed: commit it")
    rejected = reject([RULING], is_champion=False)
    assert hold(rejected, "it is not committed") == replace(rejected, moves_aliases=False)


def test_incomparable_and_rolled_back_models_are_not_promoted() -> None:
    incomparable = register_incomparable("4", "it has classes a, b, not a, c")
    rolled_back = register_rolled_back("3", "2026-01-01, to version 2: it was slow")
    assert (incomparable.action, rolled_back.action) == ("registered", "registered")
    assert "it was slow" in rolled_back.reason


@pytest.mark.parametrize(
    ("gain", "action"),
    [
        (Gain("size", 60_000, 80_000), "promoted"),
        (Gain("latency", 0.9, 1.0), "registered"),
    ],
)
def test_a_non_inferior_model_must_save_enough(gain: Gain, action: str) -> None:
    assert not exceeds_margin(EQUAL, REQUIRED)
    decision = decide_by_gain(decide_by_test("4", EQUAL, 0.05), EQUAL, REQUIRED, gain)
    assert (decision.action, decision.comparison) == (action, EQUAL)
    assert f"{gain.saved:.1%}" in decision.reason


def test_a_model_that_may_be_worse_by_more_than_the_margin_is_not_promoted() -> None:
    worse = replace(EQUAL, low=-0.0051)
    assert exceeds_margin(worse, REQUIRED)
    decision = decide_by_gain(decide_by_test("4", worse, 0.05), worse, REQUIRED, None)
    assert decision.action == "registered"
    assert "0.0051" in decision.reason
