"""Which trials are ended early, as functions of the curves seen so far, so that a study taken up again decides alike.

Optuna's own pruners keep notes on trials that were interrupted, and choose a bracket by a number that an interruption moves.
"""

import math
from collections.abc import Sequence
from statistics import median

from visiongate.settings.optimize import Optimize

Curve = Sequence[float]  # the value after each epoch, from the first; more is better


def is_hopeless(optimize: Optimize, place: int, curve: Curve, others: Sequence[Curve]) -> bool:
    """Say whether a trial is to end after the last epoch of its curve.

    Args:
        optimize: The pruner and its settings.
        place: The trial's; the current settings, at 0, are what all is compared with, and run to their end.
        curve: The trial's own.
        others: Of the study's other trials, ended early or not.
    """
    if place == 0 or optimize.pruner == "none" or len(curve) >= optimize.epochs:
        return False
    if optimize.pruner == "median":
        return _below_median(optimize, curve, others)
    return _not_promoted(optimize, place, curve, others)


def rungs(optimize: Optimize, place: int) -> list[int]:
    """Return the epochs at which a trial of this place may be ended by ``hyperband`` or ``halving``.

    Hyperband (Li et al., 2018, JMLR 18(185), algorithm 1) deals the trials out to brackets, from one with all rungs to one that
    ends none early, in numbers that give each about the same compute. All brackets share what is known at a rung here.
    ``halving`` has the first bracket alone.
    """
    factor = optimize.reduction_factor
    levels = _levels(optimize.epochs, factor)
    if optimize.pruner == "halving":
        return _spread(optimize.epochs, factor, levels)
    numbers = [math.ceil((levels + 1) / (level + 1) * factor**level) for level in range(levels + 1)]
    # The bracket with all rungs comes first: it is there that most is learned for the least.
    left = (place - 1) % sum(numbers)
    level = next(level for level in range(levels, -1, -1) if left < sum(numbers[level:]))
    return _spread(optimize.epochs, factor, level)


def _spread(epochs: int, factor: int, levels: int) -> list[int]:
    return [epochs // factor**rung for rung in range(levels, 0, -1)]


def _levels(epochs: int, factor: int) -> int:
    """Return how often the factor divides the epochs: floor(log(epochs) / log(factor)), exactly."""
    levels = 0
    while factor ** (levels + 1) <= epochs:
        levels += 1
    return levels


def _below_median(optimize: Optimize, curve: Curve, others: Sequence[Curve]) -> bool:
    """The median stopping rule (Golovin et al., 2017, Google Vizier, section 3.2.2), over trials that ran to their end."""
    epoch = len(curve)
    finished = [other for other in others if len(other) >= optimize.epochs]
    if epoch <= optimize.warmup_epochs or len(finished) < optimize.startup_trials:
        return False
    return max(curve) < median(other[epoch - 1] for other in finished)


def _not_promoted(optimize: Optimize, place: int, curve: Curve, others: Sequence[Curve]) -> bool:
    """Asynchronous successive halving (Li et al., 2020, A system for massively parallel hyperparameter tuning, algorithm 2).

    At a rung the best of every ``reduction_factor`` trials that came so far go on, and the best of fewer than that. The first
    ``startup_trials`` only scout: each is the best of few, and would go on for being early.
    """
    epoch, ends = len(curve), rungs(optimize, place)
    if epoch not in ends:
        return False
    if epoch == ends[0] and place <= optimize.startup_trials:
        return True
    values = sorted([other[epoch - 1] for other in others if len(other) >= epoch] + [curve[-1]], reverse=True)
    return curve[-1] < values[max(1, len(values) // optimize.reduction_factor) - 1]
