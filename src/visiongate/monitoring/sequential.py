"""Tests that stay valid however often somebody looks: evidence about a mean that grows with each observation.

A bet on each observation against a hypothetical mean multiplies a stake. If the hypothesis holds, the stake is a nonnegative
supermartingale that starts at 1, so that it ever reaches 1 / level with probability `level` at most (Ville's inequality), over
all looks together. The stake is the evidence, an e-process. Here it is the average over a fixed grid of bets. For pairs of
answers (1: only the challenger is correct, -1: only the champion is, 0: both or neither) and the hypothetical mean 0, only
discordant pairs change the stake: this is McNemar's exact test with a mixture in place of a fixed number of pairs.

Waudby-Smith, I. and Ramdas, A. (2024), Estimating means of bounded random variables by betting, JRSS B 86, 1-27. The mixture:
Robbins, H. (1970), Statistical methods related to the law of the iterated logarithm, Annals of Mathematical Statistics 41,
1397-1409. Nothing here needs more than numpy.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from visiongate.records.interval import Interval

Floats = npt.NDArray[np.float64]
# Shares of the stake that are bet, from 0.2% to 97%: more for large differences, less for small ones.
BETS: Final[Floats] = 1 / (1 + np.exp(-np.linspace(-6.0, 3.5, 20)))
# Halvings of the range of a bound.
STEPS: Final = 40


@dataclass(frozen=True, slots=True)
class Scale:
    """The least and the largest value that an observation may have."""

    low: float
    high: float


# The difference of two answers that are correct (1) or not (0), and one such answer.
DIFFERENCE: Final = Scale(-1.0, 1.0)
SHARE: Final = Scale(0.0, 1.0)


def log_evidence_above(
    values: npt.ArrayLike, counts: npt.ArrayLike, mean: npt.ArrayLike, scale: Scale = DIFFERENCE
) -> Floats:
    """Return the logarithm of the evidence against the hypothesis that the mean is at most ``mean``.

    Args:
        values: U distinct values of the observations.
        counts: How often each was observed, …×U: any number of streams or looks at once.
        mean: The hypothetical mean, above ``scale.low``; one, or one for each stream.
        scale: The range of the values.
    """
    excess = (np.asarray(values, np.float64) - scale.low) / (
        np.asarray(mean, np.float64)[..., None] - scale.low
    )
    # A bet of all would lose everything at the first observation of `low`, so that no bet is 1.
    growth = np.log1p(BETS * (excess[..., None] - 1))
    return _log_mean(np.einsum("...u,...ub->...b", np.asarray(counts, np.float64), growth))


def log_evidence_below(
    values: npt.ArrayLike, counts: npt.ArrayLike, mean: npt.ArrayLike, scale: Scale = DIFFERENCE
) -> Floats:
    """Return the logarithm of the evidence that the mean is below ``mean``, as `log_evidence_above`."""
    mirrored = Scale(-scale.high, -scale.low)
    return log_evidence_above(
        -np.asarray(values, np.float64), counts, -np.asarray(mean, np.float64), mirrored
    )


def confidence_sequence(
    values: npt.ArrayLike, counts: npt.ArrayLike, level: float, scale: Scale = DIFFERENCE
) -> Interval:
    """Return the observed mean with bounds that hold at all looks together, with probability 1 - ``level`` at least.

    The bounds are where the evidence reaches 2 / level on either side. Without observations they are the whole range.

    Args:
        values: U distinct values of the observations.
        counts: How often each was observed, U.
        level: Probability that the mean is ever outside.
        scale: The range of the values.
    """
    distinct, times = np.asarray(values, np.float64), np.asarray(counts, np.float64)
    if not times.sum():
        return Interval((scale.low + scale.high) / 2, scale.low, scale.high)
    mirrored = Scale(-scale.high, -scale.low)
    low = _lower_bound(distinct, times, level / 2, scale)
    high = -_lower_bound(-distinct, times, level / 2, mirrored)
    return Interval(float(distinct @ times / times.sum()), low, high)


def count_values(observations: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Return the distinct values of observations and how often each occurs."""
    values, counts = np.unique(np.asarray(observations, np.float64), return_counts=True)
    return values, counts.astype(np.float64)


def match_arms(is_first: npt.NDArray[np.bool_], correct: npt.NDArray[np.bool_]) -> Floats:
    """Return differences of accuracy between two arms that answer different requests, in blocks.

    Labels are taken in the order in which they arrived. A block ends as soon as both arms have a label in it, so that its
    extent depends on the arms alone, and later labels do not change it. Its difference, the mean of the first arm less that of
    the other, has the expectation of the difference of the accuracies.

    Args:
        is_first: N, whether the label is about the first arm.
        correct: N, whether the answer was correct.
    """
    differences = []
    sums, sizes = [0, 0], [0, 0]
    for arm, hit in zip((~is_first).astype(int).tolist(), correct.tolist(), strict=True):
        sums[arm] += hit
        sizes[arm] += 1
        if all(sizes):
            differences.append(sums[0] / sizes[0] - sums[1] / sizes[1])
            sums, sizes = [0, 0], [0, 0]
    return np.array(differences, np.float64)


def log_evidence_of_fall(
    correct: npt.NDArray[np.bool_], periods: npt.NDArray[np.int64], reference: float, periods_per_year: float
) -> float:
    """Return the logarithm of the evidence that the accuracy has fallen below a reference at some time.

    Evidence is collected anew from the start of each period and averaged with equal weights that sum to 1 a year, so that good
    times long ago do not hide a fall. The average reaches 1 / level with probability `level` a year at most while the accuracy
    is at least the reference. To leave out early periods, whose labels are deleted, can only lower it.

    Shin, J., Ramdas, A. and Rinaldo, A. (2023), E-detectors: a nonparametric framework for sequential change detection, New
    England Journal of Statistics in Data Science 2, 229-260.

    Args:
        correct: N, whether an answer was correct, by an unbiased selection of the answers.
        periods: N, the number of the period that each label belongs to, such as a week since 1970.
        reference: The accuracy, between 0 and 1.
        periods_per_year: Such as 52.18 for weeks.
    """
    if not len(correct):
        return -np.inf
    starts, place = np.unique(periods, return_inverse=True)
    right = np.bincount(place, correct, len(starts))
    wrong = np.bincount(place, ~correct, len(starts))
    since = np.stack([wrong, right], axis=-1)[::-1].cumsum(axis=0)
    evidence = log_evidence_below([0.0, 1.0], since, reference, SHARE)
    return float(np.logaddexp.reduce(evidence) - np.log(periods_per_year))


def _lower_bound(values: Floats, counts: Floats, level: float, scale: Scale) -> float:
    """Return the largest mean that the evidence excludes. The evidence falls as the hypothetical mean rises."""
    limit = -np.log(level)
    low, high = scale.low, scale.high
    for _ in range(STEPS):
        middle = (low + high) / 2
        if log_evidence_above(values, counts, middle, scale) >= limit:
            low = middle
        else:
            high = middle
    return low


def _log_mean(logarithms: Floats) -> Floats:
    mean: Floats = np.logaddexp.reduce(logarithms, axis=-1) - np.log(logarithms.shape[-1])
    return mean
