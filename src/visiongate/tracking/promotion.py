"""What becomes of a model: rejected, registered, or promoted to be served."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from visiongate.evaluation.comparison import Comparison
from visiongate.evaluation.gate import Ruling

Verdict = Literal["rejected", "registered", "promoted"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a model, and why."""

    verdict: Verdict
    reason: str  # a sentence with the numbers
    comparison: Comparison | None = None  # with the champion, where there was one to compare with


def reject(failed: Sequence[Ruling], *, is_champion: bool) -> Decision:
    """Decide about a model that did not pass the gate.

    Args:
        failed: The rules that are not met.
        is_champion: It is the one being served.
    """
    keeps = "; it stays champion until another is promoted" if is_champion else ""
    return Decision("rejected", f"the gate failed: {'; '.join(map(str, failed))}{keeps}")


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


def judge(champion: str, comparison: Comparison, alpha: float) -> Decision:
    """Decide about a model that passed the gate, by how it compares with the champion.

    Args:
        champion: The version being served.
        comparison: Of the two, on the same images.
        alpha: The p-value must lie below it.
    """
    better = comparison.p_value < alpha
    counts = (
        f"right on {comparison.wins} of {comparison.images} images that champion version {champion} gets "
        f"wrong, and wrong on {comparison.losses} that it gets right"
    )
    test = f"one-sided exact McNemar p = {comparison.p_value:.3g} {'<' if better else '>='} {alpha:g}"
    verdict: Verdict = "promoted" if better else "registered"
    return Decision(
        verdict, f"{'better' if better else 'not shown to be better'}: {counts} ({test})", comparison
    )
