"""Decide which trials to prune, from the learning curves alone, so that a resumed study decides the same.

Optuna's own pruners keep state in interrupted trials, and choose a bracket by the trial's number, which an interruption
changes. A curve has the score so far after each step, from the first; higher is better. Steps count the epochs of all folds:
with 8 epochs and 3 folds, a complete curve has 24.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from visiongate.settings.optimize import Optimize

Curve = Sequence[float]


@dataclass(frozen=True, slots=True)
class Race:
    """When trials may be pruned.

    Attributes:
        first: The first step after which a trial may be pruned.
        folds: The folds on which a trial is trained.
    """

    first: int = 1
    folds: int = 1


ONE_FOLD = Race()


def should_prune(
    optimize: Optimize, index: int, curve: Curve, others: Sequence[Curve], race: Race = ONE_FOLD
) -> bool:
    """Return whether to prune a trial after the last step of its curve.

    The pruners differ in the first fold. At the end of each fold, all but ``none`` prune the lower half of the trials that got
    as far: their means are over the same folds.

    Args:
        optimize: The pruner and its settings.
        index: The trial's index.
        curve: The trial's curve.
        others: The curves of the study's other trials, pruned or not.
        race: When trials may be pruned.
    """
    epochs, step = optimize.epochs, len(curve)
    if optimize.pruner == "none" or not race.first <= step < epochs * race.folds:
        return False
    if step >= epochs:
        return step % epochs == 0 and _is_in_lower_half(curve, others)
    if optimize.pruner == "race":
        check = max(race.first, epochs // optimize.reduction_factor)
        return step == check and _is_in_lower_half(curve, others)
    if optimize.pruner == "median":
        return _is_below_median(optimize, curve, others)
    # After too few images, all trials still guess: those rungs are moved up to the first epoch that tells them apart.
    ends = sorted({max(rung, race.first) for rung in rungs(optimize, index)})
    return _fails_rung(optimize, ends, curve, others, is_early=index < optimize.startup_trials)


def rungs(optimize: Optimize, index: int) -> list[int]:
    """Return the epochs after which ``hyperband`` or ``halving`` may prune a trial.

    Hyperband (Li et al., 2018, JMLR 18(185), algorithm 1) assigns the trials to brackets, from one with all rungs to one
    without pruning, so that each bracket gets about the same compute. Here the brackets share the scores at a rung.
    ``halving`` has the first bracket only.
    """
    factor = optimize.reduction_factor
    levels = _count_levels(optimize.epochs, factor)
    if optimize.pruner == "halving":
        return _bracket_rungs(optimize.epochs, factor, levels)
    sizes = [math.ceil((levels + 1) / (level + 1) * factor**level) for level in range(levels + 1)]
    # The bracket with all rungs comes first, because it learns most per epoch.
    position = index % sum(sizes)
    level = next(level for level in range(levels, -1, -1) if position < sum(sizes[level:]))
    return _bracket_rungs(optimize.epochs, factor, level)


def _bracket_rungs(epochs: int, factor: int, levels: int) -> list[int]:
    return [epochs // factor**level for level in range(levels, 0, -1)]


def _count_levels(epochs: int, factor: int) -> int:
    """Return floor(log(epochs) / log(factor)), computed with integers."""
    levels = 0
    while factor ** (levels + 1) <= epochs:
        levels += 1
    return levels


def _is_below_median(optimize: Optimize, curve: Curve, others: Sequence[Curve]) -> bool:
    """Apply the median stopping rule (Golovin et al., 2017, Google Vizier, section 3.2.2) over trials that were not pruned."""
    epoch = len(curve)
    finished = [other for other in others if len(other) >= optimize.epochs]
    if epoch <= optimize.warmup_epochs or len(finished) < optimize.startup_trials:
        return False
    return max(curve) < median(other[epoch - 1] for other in finished)


def _is_in_lower_half(curve: Curve, others: Sequence[Curve]) -> bool:
    """Return whether a trial is not in the better half of the trials that got as far, rounded down, but at least the best."""
    return _is_behind(curve, others, 2)


def _is_behind(curve: Curve, others: Sequence[Curve], factor: int) -> bool:
    """Return whether a trial is not among the best of each ``factor`` trials that got as far, or the best of fewer."""
    step = len(curve)
    scores = sorted([other[step - 1] for other in others if len(other) >= step] + [curve[-1]], reverse=True)
    return curve[-1] < scores[max(1, len(scores) // factor) - 1]


def _fails_rung(
    optimize: Optimize, ends: Sequence[int], curve: Curve, others: Sequence[Curve], *, is_early: bool
) -> bool:
    """Apply asynchronous successive halving (Li et al., 2020, A system for massively parallel hyperparameter tuning, alg. 2).

    At a rung, one of every ``reduction_factor`` trials continues, and the best of fewer than that. The first
    ``startup_trials`` end at their first rung: they have too few competitors to earn more epochs.
    """
    epoch = len(curve)
    if epoch not in ends:
        return False
    if epoch == ends[0] and is_early:
        return True
    return _is_behind(curve, others, optimize.reduction_factor)
