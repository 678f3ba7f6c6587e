"""Test whether the best settings of a search are better than the current ones, or whether their seed was lucky."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class Confirmation:
    """The test of the differences between the best and the current settings, trained with the same fresh seeds.

    Attributes:
        mean_difference: Mean of best minus current.
        low: Lower bound of its confidence interval.
        high: Upper bound.
        confidence: Level of the interval.
        p_value: One-sided, of so large a mean difference if the settings are equally good.
    """

    mean_difference: float
    low: float
    high: float
    confidence: float
    p_value: float

    @property
    def better(self) -> bool:
        """Whether the best settings are significantly better."""
        return self.p_value <= ALPHA


def confirm(differences: Sequence[float]) -> Confirmation:
    """Test paired differences with the exact sign-flip test, and compute the matching confidence interval.

    If the settings are equally good, each difference is as likely to have the opposite sign. The p-value is the share of the
    2^n sign choices whose mean is at least the observed one (Fisher, 1935, The Design of Experiments, section 21). It is at
    least 2^-n, so that fewer than five seeds cannot show a difference at 5%.

    The means of the 2^n - 1 nonempty subsets divide the real line into 2^n parts, each of which contains the true difference
    with equal probability if the differences are symmetric (Hartigan, 1969, Using subsample values as typical values, JASA
    64:1303-1317). The interval omits 5% of the parts at each end, so that its lower bound is above 0 exactly if the
    difference is significant; if 5% is less than one part, it ranges from the smallest to the largest difference.

    Args:
        differences: Best minus current for each seed, in scores, of which higher is better; at most 16, because every choice
            of signs is tried.

    Raises:
        ValueError: There is no difference.
    """
    if not differences:
        raise ValueError("no differences")
    values = np.array(differences, dtype=np.float64)
    subsets = _subsets(len(values))
    means = np.sort(subsets[1:] @ values / subsets[1:].sum(axis=1))
    omitted = max(1, int(ALPHA * len(subsets)))
    return Confirmation(
        mean_difference=float(values.mean()),
        # Adding 0 turns -0 into 0.
        low=float(means[omitted - 1]) + 0.0,
        high=float(means[-omitted]) + 0.0,
        confidence=1 - 2 * omitted / len(subsets),
        p_value=_p_value(values),
    )


def is_decided(differences: Sequence[float], seeds: int) -> bool:
    """Return whether the test cannot become significant any more, whatever the remaining differences are.

    The p-value is smallest if each remaining difference exceeds the sum of all others: then only choices that keep its sign
    have so large a mean. Stopping there changes no decision (curtailed sampling).

    Args:
        differences: Those of the first seeds.
        seeds: The number of seeds in all.
    """
    remaining = seeds - len(differences)
    return _p_value(np.array(differences, dtype=np.float64)) * 0.5**remaining > ALPHA


def _p_value(differences: FloatArray) -> float:
    """Return the share of the sign choices whose sum is at least the observed one."""
    sums = (2 * _subsets(len(differences)) - 1) @ differences
    rounding = 1e-9 * np.abs(differences).sum()
    return float(np.mean(sums >= differences.sum() - rounding))


def _subsets(count: int) -> IntArray:
    """Return the 2^n subsets of n elements, one per row; the first one is empty."""
    return (np.arange(2**count)[:, None] >> np.arange(count)) & 1
