"""Probabilities of large values, for p-values far below what permutations can count."""

import math
from collections.abc import Callable
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
# Steps of a bisection: the width of the interval becomes that of rounding.
_STEPS: Final = 200
# Below this, a saddlepoint is at the mean, where its formula is 0/0.
_CENTER: Final = 1e-4


def normal_tail(value: float) -> float:
    """Return the probability that a standard normal variable is larger."""
    return math.erfc(value / math.sqrt(2)) / 2


def chi_squared_tail(value: float, degrees: int) -> float:
    """Return the probability that a chi-squared variable is larger.

    The upper incomplete gamma function by its recurrence: NIST Digital Library of Mathematical Functions, 8.8.2.
    """
    if degrees == 0 or value <= 0:
        return 1.0
    half, order = value / 2, (degrees % 2) / 2
    tail = math.erfc(math.sqrt(half)) if order else 0.0
    while order < degrees / 2:
        tail += math.exp(order * math.log(half) - half - math.lgamma(order + 1))
        order += 1
    return min(1.0, tail)


def binomial_tail(successes: int, trials: int, probability: float) -> float:
    """Return the probability of at least so many successes."""
    counts = np.arange(successes, trials + 1)
    logs = _log_choose(trials, counts) + counts * math.log(probability)
    return min(1.0, float(np.exp(logs + (trials - counts) * math.log1p(-probability)).sum()))


def hypergeometric_tail(marked: int, drawn: int, total: int, found: int) -> float:
    """Return the probability that of so many items drawn without replacement at least ``found`` are marked."""
    counts = np.arange(max(found, drawn + marked - total, 0), min(marked, drawn) + 1)
    logs = _log_choose(marked, counts) + _log_choose(total - marked, drawn - counts)
    return min(1.0, float(np.exp(logs - _log_choose(total, np.array([drawn]))).sum()))


def weighted_chi_squared_tail(value: float, weights: Floats) -> float:
    """Return the probability that a weighted sum of squares of standard normal variables is larger.

    Kuonen, D. (1999), Saddlepoint approximations for distributions of quadratic forms in normal variables, Biometrika 86(4),
    929-935. The relative error is some percent, in the far tail, too.

    Args:
        value: Of the sum.
        weights: At least 0, and not all 0.
    """
    weights = weights[weights > weights.max() * 1e-12]
    if value <= 0:
        return 1.0
    limit = 1 / (2 * weights.max())
    low = -weights.size / value - limit
    point = _bisect(lambda t: float((weights / (1 - 2 * t * weights)).sum()) - value, low, limit)
    if abs(point) < _CENTER * limit:
        point = math.copysign(_CENTER * limit, point)
        value = float((weights / (1 - 2 * point * weights)).sum())
    generating = -float(np.log1p(-2 * point * weights).sum()) / 2
    spread = 2 * float(((weights / (1 - 2 * point * weights)) ** 2).sum())
    root = math.copysign(math.sqrt(max(0.0, 2 * (point * value - generating))), point)
    return normal_tail(root + math.log(point * math.sqrt(spread) / root) / root)


def _bisect(rising: Callable[[float], float], low: float, high: float) -> float:
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (low, middle) if rising(middle) > 0 else (middle, high)
    return (low + high) / 2


def _log_choose(total: int, counts: npt.NDArray[np.int64]) -> Floats:
    factorials = _log_factorials(total.bit_length())
    return np.asarray(factorials[total] - factorials[counts] - factorials[total - counts], np.float64)


@cache
def _log_factorials(bits: int) -> Floats:
    """Return the logarithms of the factorials of all numbers of at most so many bits."""
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, 1 << bits)))])
