"""Is the best trial better than the current settings, or was its seed luckier?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

ALPHA = 0.05  # the chance to be taken in by luck, one-sided


@dataclass(frozen=True, slots=True)
class Verdict:
    """How the best trial's settings and the current ones differ when both are trained on the same fresh seeds."""

    seeds: list[int]
    current: list[float]  # by seed; more is better
    best: list[float]
    mean_difference: float  # best less current
    low: float  # of the interval on it
    high: float
    confidence: float  # of the interval
    p_value: float  # of so large a mean difference, were the settings equally good

    @property
    def decidable(self) -> bool:
        """Say whether so few seeds can show anything at all."""
        return bool(0.5 ** len(self.seeds) <= ALPHA)

    @property
    def better(self) -> bool:
        """Say whether the difference is more than seed noise."""
        return self.p_value <= ALPHA


def judge(seeds: Sequence[int], current: Sequence[float], best: Sequence[float]) -> Verdict:
    """Test the differences, paired by seed, by flipping their signs, and give the interval that goes with the test.

    Were the two equally good, each difference could as well have had the other sign. The p-value is the share of the 2^n ways
    to choose the signs whose mean is at least the observed: exact, for any distribution (Fisher, 1935, The Design of
    Experiments, section 21). No p-value is below 2^-n, so fewer than five seeds cannot show a difference at 5%.

    The means of the 2^n - 1 subsets of the differences cut the line into 2^n parts, each of which holds the true difference
    with the same chance if the differences are symmetric about it (Hartigan, 1969, Using subsample values as typical values,
    JASA 64:1303-1317; for continuous differences: ties only make it more likely to be held). The interval leaves out 5% of the
    parts at either end, so its lower end is above 0 just when the test decides; where that is less than one part, it goes
    from the smallest to the largest difference.

    Args:
        seeds: At most 16, for every choice of signs is tried.
        current: The current settings' value for each seed, more being better.
        best: The best trial's settings' for the same seeds.

    Raises:
        ValueError: Not one value each for every seed, or there is no seed.
    """
    if not seeds or not len(seeds) == len(current) == len(best):
        raise ValueError(f"{len(seeds)} seeds, {len(current)} and {len(best)} values")
    differences = np.array(best, dtype=np.float64) - np.array(current, dtype=np.float64)
    count = len(differences)
    chosen = (np.arange(2**count)[:, None] >> np.arange(count)) & 1  # every subset, one a row
    sums = (2 * chosen - 1) @ differences
    slack = 1e-9 * np.abs(differences).sum()  # sums that are equal but for rounding
    cut = max(1, int(ALPHA * 2**count))
    means = np.sort(chosen[1:] @ differences / chosen[1:].sum(axis=1))
    return Verdict(
        list(seeds),
        list(current),
        list(best),
        float(differences.mean()),
        *_ends(means, cut),
        1 - 2 * cut / 2**count,
        float(np.mean(sums >= differences.sum() - slack)),
    )


def _ends(means: npt.NDArray[np.float64], cut: int) -> tuple[float, float]:
    """Return the values with fewer than ``cut`` below or above; adding 0 turns -0 into 0."""
    return float(means[cut - 1]) + 0.0, float(means[-cut]) + 0.0
