"""Decisions, and the sentences that give their reasons."""

from dataclasses import replace

import pytest

from visiongate.adapters.git import Commit
from visiongate.comparison.paired_test import Comparison
from visiongate.records.verdict import RuleResult
from visiongate.registration.gains import Gain
from visiongate.registration.promotion import (
    accept_rolled_back,
    accept_unlike,
    judge,
    judge_gain,
    may_be_worse,
    refuse_dirty,
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
WANTED = NonInferiority(margin=0.005, gain="size", by=0.2)
EQUAL = replace(COMPARISON, challenger=0.9407, difference=0.0, low=-0.004, high=0.004, p_value=0.5)


@pytest.mark.parametrize(
    ("p_value", "verdict", "start"),
    [(0.0107, "promoted", "better: "), (0.05, "registered", "not shown to be better: ")],
)
def test_challenger_must_be_shown_to_be_better(p_value: float, verdict: str, start: str) -> None:
    decision = judge("4", replace(COMPARISON, p_value=p_value), alpha=0.05)
    assert decision.verdict == verdict
    sign = "<" if verdict == "promoted" else ">="
    assert decision.reason == (
        f"{start}accuracy 0.9704 to champion version 4's 0.9407, a gain of 0.0296 (90% interval 0.0092 to 0.0497); "
        "of 270 images right on 9 that it gets wrong, and wrong on 1 that it gets right "
        f"(one-sided exact McNemar p = {p_value:g} {sign} 0.05)"
    )


def test_rejection_names_each_broken_rule() -> None:
    undefined = RuleResult("auc", "roc_auc", ">= 0.9", None, None, None, None, passed=False)
    decision = reject([RULING, undefined], is_champion=False)
    assert decision.verdict == "rejected"
    assert decision.reason == f"the gate failed: {RULING}; {undefined}"
    assert "accuracy 0.9512, required >= 0.97" in decision.reason


def test_rejected_champion_is_said_to_stay() -> None:
    assert reject([RULING], is_champion=True).reason.endswith("; it stays champion until another is promoted")


def test_a_dirty_work_tree_is_refused_and_moves_nothing() -> None:
    decision = refuse_dirty(Commit("0123456789", dirty=True), is_champion=False)
    assert (decision.verdict, decision.moves_aliases) == ("rejected", False)
    assert decision.reason == (
        "gate.clean_tree asks for a clean work tree, and tracked files differ from commit 0123456: commit, and register again"
    )
    unknown = refuse_dirty(Commit("unknown", None), is_champion=True).reason
    assert "and there is no git commit to name: " in unknown
    assert unknown.endswith("it stays champion until another is promoted")


def test_what_cannot_be_compared_is_not_promoted() -> None:
    decision = accept_unlike("4", "it has classes a, b, not a, c")
    assert decision.verdict == "registered"
    assert decision.reason.endswith("champion version 4 cannot be compared: it has classes a, b, not a, c")


def test_what_was_rolled_back_is_not_promoted() -> None:
    decision = accept_rolled_back("3", "2026-01-01, to version 2: it was slow")
    assert decision.verdict == "registered"
    assert decision.reason.endswith(
        "(2026-01-01, to version 2: it was slow): `make rollback TO=3` would put it back"
    )


def test_hardly_worse_and_much_smaller_is_promoted() -> None:
    before = judge("4", EQUAL, 0.05)
    assert not may_be_worse(EQUAL, WANTED)
    decision = judge_gain(before, EQUAL, WANTED, Gain("size", 60_000, 80_000))
    assert (decision.verdict, decision.comparison) == ("promoted", EQUAL)
    assert decision.reason == (
        f"{before.reason}; hardly worse: at most 0.0040 worse, within the margin of 0.005, and its file has 60.0 kB, the "
        "champion's 80.0 kB: 25.0% less, at least 20.0%"
    )


def test_hardly_worse_and_hardly_faster_stays_challenger() -> None:
    decision = judge_gain(judge("4", EQUAL, 0.05), EQUAL, WANTED, Gain("latency", 0.9, 1.0))
    assert decision.verdict == "registered"
    assert decision.reason.endswith(
        "it takes 0.9 ms an image, the champion 1 ms, measured here: 10.0% less, not at least 20.0%"
    )


def test_worse_by_more_than_the_margin_stays_challenger_whatever_it_saves() -> None:
    worse = replace(EQUAL, low=-0.0051)
    assert may_be_worse(worse, WANTED)
    decision = judge_gain(judge("4", worse, 0.05), worse, WANTED, None)
    assert decision.verdict == "registered"
    assert decision.reason.endswith(
        "nor shown to be hardly worse: at most 0.0051 worse, not within the margin of 0.005"
    )
