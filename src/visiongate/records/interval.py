"""Confidence intervals, and the interval of a share."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field

Finite = Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class Interval:
    """A metric and the bounds of its confidence interval."""

    value: Finite
    low: Finite
    high: Finite


def number_groups(groups: Sequence[str | None]) -> npt.NDArray[np.int64]:
    """Number the groups of N images from 0, in order of appearance; an image without a group (None) is its own group."""
    keys = [(index, "") if group is None else (-1, group) for index, group in enumerate(groups)]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return np.array([numbers[key] for key in keys], dtype=np.int64)


def effective_draws(groups: npt.NDArray[np.int64]) -> float:
    """Return how many independent draws grouped images are worth: Kish's effective sample size.

    It is the number of groups if all have the same size, and less otherwise. Kish, L. (1965), Survey sampling, section 11.7.

    Args:
        groups: N, the number of each image's group.
    """
    sizes = np.unique(groups, return_counts=True)[1].astype(np.float64)
    return float(sizes.sum() ** 2 / (sizes**2).sum())


def wilson_interval(share: float, draws: float, confidence: float) -> Interval:
    """Return Wilson's score interval of a share of independent draws, whose number need not be whole.

    Wilson, E. B. (1927), Probable inference, the law of succession, and statistical inference, JASA 22, 209-212.
    """
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    center = share + z * z / (2 * draws)
    half = z * (share * (1 - share) / draws + z * z / (4 * draws * draws)) ** 0.5
    scale = 1 + z * z / draws
    # Rounding must not exclude the share itself, nor leave 0 to 1.
    low, high = (center - half) / scale, (center + half) / scale
    return Interval(share, max(0.0, min(share, low)), min(1.0, max(share, high)))
