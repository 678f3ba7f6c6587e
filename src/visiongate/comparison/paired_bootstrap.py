"""The paired bootstrap: is one model better than another by any metric, and by how much?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from visiongate.comparison.paired_metrics import Floats, Integers, PairedMetric

CELLS = 1_000_000  # of a table held at a time: 8 MB, near the processor
ROUNDING = 1e-12  # two metrics that lie nearer are equal


@dataclass(frozen=True, slots=True)
class Resampling:
    """How to resample."""

    samples: int
    seed: int
    alpha: float  # each bound of the interval is one-sided at it


@dataclass(frozen=True, slots=True)
class Outcome:
    """Two models by one metric; the difference is the challenger's less the champion's."""

    challenger: float
    champion: float
    low: float
    high: float
    p_above: float  # of as large a difference, were the challenger no higher
    p_below: float  # of as small a difference, were the challenger no lower


def paired_bootstrap(pair: PairedMetric, how: Resampling) -> Outcome:
    """Test the difference of two models on the same units, and bound it.

    The units are drawn with replacement, both models' answers together. A bootstrap of few units is too narrow; its tails are
    widened as Hesterberg proposes, by Student's t. And one in which only a handful of units tell the models apart is too
    bold: of 3 images won and none lost, no draw in twenty would be without a win. So the p-value is the larger of the
    bootstrap's and that of exchanging the models' answers within units at random, which is exact at any size if equally
    good models are exchangeable. Neither p-value is below 1 / (samples + 1).

    Efron, B., Tibshirani, R. J. (1993), An introduction to the bootstrap, section 13.3; Hesterberg, T. C. (2015), What
    teachers should know about the bootstrap, The American Statistician 69, 371-386, section 4.3; Davison, A. C., Hinkley,
    D. V. (1997), Bootstrap methods and their application, section 4.2 (one is added to both counts); Yeh, A. (2000), More
    accurate tests for the statistical significance of result differences, COLING (the exchange).

    Args:
        pair: The metric, ready to be resampled; of two units at least.
        how: Number of samples, seed and level.

    Raises:
        ValueError: There is a single unit.
    """
    units = pair.challenger.shape[1]
    if units < 2:  # noqa: PLR2004
        raise ValueError("a single unit cannot be resampled")
    whole = np.ones((units, 1))
    mine, theirs = (float(pair.statistic(table @ whole)[0]) for table in (pair.challenger, pair.champion))
    drawn, exchanged = _draw(pair, how), _exchange(pair, how)
    low, high = np.quantile(drawn, _widened(np.array([how.alpha, 1 - how.alpha]), units))
    above, below = (
        max(
            _narrowed(_share(sign * drawn <= ROUNDING), units),
            _share(sign * exchanged >= sign * (mine - theirs) - ROUNDING),
        )
        for sign in (1, -1)
    )
    return Outcome(mine, theirs, float(low), float(high), above, below)


def number_units(groups: Sequence[str | None]) -> Integers:
    """Number what is drawn as one: a group of images, or an image without a group."""
    keys = [(index,) if group is None else group for index, group in enumerate(groups)]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return np.array([numbers[key] for key in keys], dtype=np.int64)


def _share(found: npt.NDArray[np.bool_]) -> float:
    """Count, the observed included: a p-value of zero would say more than any sample can."""
    return float((np.count_nonzero(found) + 1) / (len(found) + 1))


def _widened(level: Floats, units: int) -> Floats:
    """Return the percentiles that bound at a level, for so few units."""
    widened: Floats = ndtr(stdtrit(units - 1, level) * (units / (units - 1)) ** 0.5)
    return widened


def _narrowed(share: float, units: int) -> float:
    """Return the level at which a percentile bounds: the inverse of `_widened`."""
    return float(stdtr(units - 1, ndtri(share) * ((units - 1) / units) ** 0.5)) if share < 1 else 1.0


def _draw(pair: PairedMetric, how: Resampling) -> Floats:
    """Return the difference in each sample of units drawn with replacement."""
    units = pair.challenger.shape[1]
    generator = np.random.default_rng((how.seed, 0))
    parts = []
    for samples in _chunks(pair, how.samples):
        cells = generator.integers(units, size=(units, samples)) * samples + np.arange(samples)
        counts = np.bincount(cells.ravel(), minlength=units * samples).reshape(units, samples)
        parts.append(pair.statistic(pair.challenger @ counts) - pair.statistic(pair.champion @ counts))
    return np.concatenate(parts)


def _exchange(pair: PairedMetric, how: Resampling) -> Floats:
    """Return the difference after the two models' answers are exchanged in half of the units, at random."""
    units = pair.challenger.shape[1]
    generator = np.random.default_rng((how.seed, 1))
    both = (pair.challenger + pair.champion) @ np.ones((units, 1))
    parts = []
    for samples in _chunks(pair, how.samples):
        kept = generator.integers(2, size=(units, samples), dtype=np.int8).astype(np.float64)
        mine = pair.challenger @ kept + pair.champion @ (1 - kept)
        parts.append(pair.statistic(mine) - pair.statistic(both - mine))
    return np.concatenate(parts)


def _chunks(pair: PairedMetric, samples: int) -> Iterator[int]:
    """Deal the samples out, so that no table of them is large."""
    most = max(1, CELLS // max(pair.challenger.shape))
    yield from (min(most, samples - start) for start in range(0, samples, most))
