"""An interval, and that of a share."""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Interval:
    """A metric, and the bounds of its confidence interval."""

    value: float
    low: float
    high: float


def effective_draws(units: npt.NDArray[np.int64]) -> float:
    """Return how many independent draws images are worth that come in units: Kish's effective sample size.

    As many as there are units where all are as large; fewer where one is larger than the others. Kish, L. (1965), Survey
    sampling, section 11.7.

    Args:
        units: N, the number of the unit of each image.
    """
    sizes = np.unique(units, return_counts=True)[1].astype(np.float64)
    return float(sizes.sum() ** 2 / (sizes**2).sum())


def wilson_interval(share: float, draws: float, confidence: float) -> Interval:
    """Find Wilson's score interval of a share seen in so many independent draws, which need be no whole number."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    center = share + z * z / (2 * draws)
    half = z * (share * (1 - share) / draws + z * z / (4 * draws * draws)) ** 0.5
    scale = 1 + z * z / draws
    # The share lies within its interval; rounding must not put it outside.
    return Interval(share, min(share, (center - half) / scale), max(share, (center + half) / scale))
