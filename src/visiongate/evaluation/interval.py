"""An interval, and that of a share."""

from dataclasses import dataclass
from statistics import NormalDist


@dataclass(frozen=True, slots=True)
class Interval:
    """A metric, and the bounds of its confidence interval."""

    value: float
    low: float
    high: float


def wilson_interval(share: float, draws: int, confidence: float) -> Interval:
    """Find Wilson's score interval of a share seen in so many independent draws."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    centre = share + z * z / (2 * draws)
    half = z * (share * (1 - share) / draws + z * z / (4 * draws * draws)) ** 0.5
    scale = 1 + z * z / draws
    # The share lies within its interval; rounding must not put it outside.
    return Interval(share, min(share, (centre - half) / scale), max(share, (centre + half) / scale))
