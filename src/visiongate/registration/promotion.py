"""What becomes of a model: rejected, registered, or promoted to be served."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from visiongate.adapters.git import UNKNOWN, Commit
from visiongate.comparison.paired_test import Comparison
from visiongate.records.verdict import RuleResult
from visiongate.registration.gains import Gain
from visiongate.settings.registry import NonInferiority

GateVerdict = Literal["rejected", "registered", "promoted"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a model, and why."""

    verdict: GateVerdict
    reason: str  # a sentence with the numbers
    comparison: Comparison | None = None  # with the champion, where there was one to compare with
    moves_aliases: bool = True  # False where the model was not even judged


def reject(failed: Sequence[RuleResult], *, is_champion: bool) -> Decision:
    """Decide about a model that did not pass the gate.

    Args:
        failed: The rules that are not met.
        is_champion: It is the one being served.
    """
    return Decision("rejected", f"the gate failed: {'; '.join(map(str, failed))}{_keeps(is_champion)}")


def refuse_dirty(commit: Commit, *, is_champion: bool) -> Decision:
    """Decide about a model from a work tree that is not what its commit says: nobody could rebuild it.

    Args:
        commit: What is checked out.
        is_champion: It is the one being served.
    """
    found = (
        "there is no git commit to name"
        if commit.sha == UNKNOWN
        else f"tracked files differ from commit {commit.sha[:7]}"
    )
    return Decision(
        "rejected",
        f"gate.clean_tree asks for a clean work tree, and {found}: commit, and register again{_keeps(is_champion)}",
        moves_aliases=False,
    )


def accept_first() -> Decision:
    """Decide about a model that passed the gate when there is no champion."""
    return Decision("promoted", "it passed the gate, and there is no champion yet")


def accept_again() -> Decision:
    """Decide about the champion itself, judged once more."""
    return Decision("promoted", "already champion, and it passed the gate")


def accept_unlike(champion: str, difference: str) -> Decision:
    """Decide about a model that passed the gate and cannot be compared with the champion.

    Args:
        champion: The version being served.
        difference: In what it differs.
    """
    return Decision(
        "registered", f"it passed the gate, but champion version {champion} cannot be compared: {difference}"
    )


def accept_rolled_back(number: str, story: str) -> Decision:
    """Decide about a version that a person took out of service: no test puts it back.

    Args:
        number: The version.
        story: When and why it was rolled back.
    """
    return Decision(
        "registered",
        f"it passed the gate, but was rolled back ({story}): `make rollback TO={number}` would put it back",
    )


def judge(champion: str, comparison: Comparison, alpha: float) -> Decision:
    """Decide about a model that passed the gate, by how it compares with the champion.

    Args:
        champion: The version being served.
        comparison: Of the two, on the same images.
        alpha: The p-value must lie below it.
    """
    better = comparison.p_value < alpha
    test = f"one-sided {comparison.test} p = {comparison.p_value:.3g} {'<' if better else '>='} {alpha:g}"
    reason = (
        f"{'better' if better else 'not shown to be better'}: {comparison.metric} {comparison.challenger:.4g} to champion "
        f"version {champion}'s {comparison.champion:.4g}, a gain of {comparison.difference:.4f} "
        f"({1 - 2 * alpha:.0%} interval {comparison.low:.4f} to {comparison.high:.4f}); of {comparison.images} images right "
        f"on {comparison.wins} that it gets wrong, and wrong on {comparison.losses} that it gets right ({test})"
    )
    return Decision("promoted" if better else "registered", reason, comparison)


def may_be_worse(comparison: Comparison, wanted: NonInferiority) -> bool:
    """Tell whether the challenger may be worse by more than the margin."""
    return -comparison.low > wanted.margin


def judge_gain(
    decision: Decision, comparison: Comparison, wanted: NonInferiority, gain: Gain | None
) -> Decision:
    """Decide anew about a model that is not shown to be better: hardly worse and cheaper will do.

    Args:
        decision: As `judge` had it.
        comparison: With the champion.
        wanted: What must be shown.
        gain: What it saves; None where it may be worse by more than the margin, so that nothing was measured.
    """
    lost = f"at most {max(0.0, -comparison.low):.4f} worse, {{}} the margin of {wanted.margin:g}"
    if gain is None:
        told = f"nor shown to be hardly worse: {lost.format('not within')}"
        return Decision(decision.verdict, f"{decision.reason}; {told}", comparison)
    enough = gain.saved >= wanted.by
    told = (
        f"hardly worse: {lost.format('within')}, and {gain}: {gain.saved:.1%} less, {'' if enough else 'not '}at "
        f"least {wanted.by:.1%}"
    )
    verdict: GateVerdict = "promoted" if enough else decision.verdict
    return Decision(verdict, f"{decision.reason}; {told}", comparison)


def _keeps(is_champion: bool) -> str:  # noqa: FBT001 - said by name where it is called from outside
    return "; it stays champion until another is promoted" if is_champion else ""
