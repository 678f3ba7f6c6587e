"""Test whether the best trial is better than the current settings, or whether its seed was lucky."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class Confirmation:
    """The difference between the best trial's settings and the current ones, trained with the same fresh seeds.

    Attributes:
        seeds: The seeds.
        current: The score of the current settings for each seed; higher is better.
        best: The score of the best trial's settings.
        mean_difference: Mean of best minus current.
        low: Lower bound of its confidence interval.
        high: Upper bound.
        confidence: Level of the interval.
        p_value: One-sided, of so large a mean difference if the settings are equally good.
    """

    seeds: Sequence[int]
    current: Sequence[float]
    best: Sequence[float]
    mean_difference: float
    low: float
    high: float
    confidence: float
    p_value: float

    @property
    def decidable(self) -> bool:
        """Whether there are enough seeds for a significant difference."""
        return bool(0.5 ** len(self.seeds) <= ALPHA)

    @property
    def better(self) -> bool:
        """Whether the best trial's settings are significantly better."""
        return self.p_value <= ALPHA


def confirm(seeds: Sequence[int], current: Sequence[float], best: Sequence[float]) -> Confirmation:
    """Test the paired differences with the exact sign-flip test, and compute the matching confidence interval.

    If the settings are equally good, each difference is as likely to have the opposite sign. The p-value is the share of the
    2^n sign choices whose mean is at least the observed one (Fisher, 1935, The Design of Experiments, section 21). It is at
    least 2^-n, so that fewer than five seeds cannot show a difference at 5%.

    The means of the 2^n - 1 nonempty subsets divide the real line into 2^n parts, each of which contains the true difference
    with equal probability if the differences are symmetric (Hartigan, 1969, Using subsample values as typical values, JASA
    64:1303-1317). The interval omits 5% of the parts at each end, so that its lower bound is above 0 exactly if the
    difference is significant; if 5% is less than one part, it ranges from the smallest to the largest difference.

    Args:
        seeds: At most 16, because every choice of signs is tried.
        current: The score of the current settings for each seed; higher is better.
        best: The score of the best trial's settings for each seed.

    Raises:
        ValueError: There is no seed, or the lengths differ.
    """
    if not seeds or not len(seeds) == len(current) == len(best):
        raise ValueError(f"{len(seeds)} seeds, {len(current)} and {len(best)} values")
    differences = np.array(best, dtype=np.float64) - np.array(current, dtype=np.float64)
    count = len(differences)
    subsets = (np.arange(2**count)[:, None] >> np.arange(count)) & 1
    sums = (2 * subsets - 1) @ differences
    rounding = 1e-9 * np.abs(differences).sum()
    omitted = max(1, int(ALPHA * 2**count))
    means = np.sort(subsets[1:] @ differences / subsets[1:].sum(axis=1))
    return Confirmation(
        seeds=list(seeds),
        current=list(current),
        best=list(best),
        mean_difference=float(differences.mean()),
        # Adding 0 turns -0 into 0.
        low=float(means[omitted - 1]) + 0.0,
        high=float(means[-omitted]) + 0.0,
        confidence=1 - 2 * omitted / 2**count,
        p_value=float(np.mean(sums >= differences.sum() - rounding)),
    )
