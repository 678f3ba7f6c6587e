"""The decision about a model: reject it, register it as challenger, or promote it to champion."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from visiongate.comparison.paired_test import Comparison
from visiongate.records.registration import Action
from visiongate.records.verdict import RuleResult
from visiongate.registration.gains import Gain
from visiongate.registration.pairing import MIN_IMAGES
from visiongate.settings.registry import NonInferiority

# Classes that a reason names.
EXAMPLES = 3
STAYS_CHAMPION = "; it stays champion until another version is promoted"


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do with a model.

    Attributes:
        action: What to do.
        reason: A sentence with the numbers.
        comparison: With the champion, if the two were compared.
        moves_aliases: False for the model of an experiment or of uncommitted changes.
    """

    action: Action
    reason: str
    comparison: Comparison | None = None
    moves_aliases: bool = True


def reject(failed: Sequence[RuleResult], *, is_champion: bool) -> Decision:
    """Reject a model that failed the gate.

    Args:
        failed: The rules that failed.
        is_champion: Whether the model is the champion.
    """
    rules = "; ".join(map(str, failed))
    return Decision("rejected", f"the gate failed: {rules}{STAYS_CHAMPION if is_champion else ''}")


def reject_lost_classes(champion: str, lost: Sequence[str]) -> Decision:
    """Reject a model that cannot predict some classes of the champion.

    Args:
        champion: The champion's version.
        lost: The classes that only the champion has.
    """
    names = ", ".join(map(repr, lost[:EXAMPLES])) + (" and others" if len(lost) > EXAMPLES else "")
    return Decision(
        "rejected",
        f"passed the gate, but lacks {len(lost)} {'class' if len(lost) == 1 else 'classes'} of champion version {champion}: "
        f"{names}; restore their images, or set registry.allow_lost_classes=true if they were removed on purpose",
    )


def promote_first() -> Decision:
    """Promote a model that passed the gate when there is no champion."""
    return Decision("promoted", "passed the gate; there was no champion")


def promote_committed(commit: str) -> Decision:
    """Promote the model of a commit when there is no champion, before another model is registered.

    Args:
        commit: The short hash.
    """
    return Decision("promoted", f"it is the promoted model of commit {commit}; there was no champion")


def keep_champion() -> Decision:
    """Keep a champion that passed the gate again."""
    return Decision("promoted", "passed the gate; already champion")


def hold(decision: Decision, obstacle: str) -> Decision:
    """Move no alias, because the model belongs to no commit; register it if it would be promoted.

    Args:
        decision: About the model.
        obstacle: Why it belongs to no commit, and the commands that change this.
    """
    if decision.action == "rejected":
        return replace(decision, moves_aliases=False)
    return replace(
        decision,
        action="registered",
        reason=f"{decision.reason}; no alias moved, because {obstacle}",
        moves_aliases=False,
    )


def register_incomparable(champion: str, difference: str) -> Decision:
    """Register a model that passed the gate and cannot be compared with the champion.

    Args:
        champion: The champion's version.
        difference: Why they cannot be compared.
    """
    return Decision(
        "registered",
        f"passed the gate, but cannot be compared with champion version {champion}: {difference}",
    )


def register_rolled_back(number: str, rollback: str) -> Decision:
    """Register a version that was rolled back, which only a person may promote again.

    Args:
        number: The version.
        rollback: When and why it was rolled back.
    """
    return Decision(
        "registered",
        f"passed the gate, but was rolled back ({rollback}); `visiongate registry rollback --to {number}` restores it",
    )


def register_too_few(champion: str, images: int, note: str) -> Decision:
    """Register a model that passed the gate, if too few images are new to the champion.

    Args:
        champion: The champion's version.
        images: Number of images that can be compared.
        note: Why the others were left out.
    """
    return register_incomparable(
        champion,
        f"only {images} images can be compared, {MIN_IMAGES} required: {note}; add images that are new to the champion, or "
        "choose by hand with `visiongate registry promote VERSION --force`",
    )


def decide_by_test(champion: str, comparison: Comparison, alpha: float, note: str = "") -> Decision:
    """Promote a model that is significantly better than the champion, otherwise register it.

    Args:
        champion: The champion's version.
        comparison: Of the two models on the same images.
        alpha: The p-value must be below it.
        note: What to know about the images; may be empty.
    """
    better = comparison.p_value < alpha
    reason = (
        f"{'better' if better else 'not significantly better'} than champion version {champion}: {comparison.metric} "
        f"{comparison.challenger:.4g} against {comparison.champion:.4g}, difference {comparison.difference:.4f} "
        f"({1 - 2 * alpha:.0%} confidence interval {comparison.low:.4f} to {comparison.high:.4f}); "
        f"of {comparison.images} images, {comparison.wins} are correct only for the challenger and {comparison.losses} only "
        f"for the champion; one-sided {comparison.test} p = {comparison.p_value:.3g} {'<' if better else '>='} {alpha:g}"
    )
    action: Action = "promoted" if better else "registered"
    return Decision(action, f"{reason}; {note}" if note else reason, comparison)


def exceeds_margin(comparison: Comparison, required: NonInferiority) -> bool:
    """Return whether the challenger may be worse by more than the margin."""
    return -comparison.low > required.margin


def decide_by_gain(
    decision: Decision, comparison: Comparison, required: NonInferiority, gain: Gain | None
) -> Decision:
    """Promote a model that is not significantly better, if it is non-inferior and cheaper.

    Args:
        decision: Of `decide_by_test`.
        comparison: With the champion.
        required: The margin and the gain that are required.
        gain: What the challenger saves; None if it exceeds the margin, so that no gain was measured.
    """
    loss = max(0.0, -comparison.low)
    if gain is None:
        reason = (
            f"not non-inferior: it may be worse by {loss:.4f}, more than the margin of {required.margin:g}"
        )
        return replace(decision, reason=f"{decision.reason}; {reason}")
    reason = (
        f"non-inferior: worse by {loss:.4f} at most, within the margin of {required.margin:g}; {gain}, "
        f"{gain.saved:.1%} less, {required.by:.1%} required"
    )
    action: Action = "promoted" if gain.saved >= required.by else decision.action
    return replace(decision, action=action, reason=f"{decision.reason}; {reason}")
