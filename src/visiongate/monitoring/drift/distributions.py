"""Tests of two samples of one quantity: numbers, categories, and marks."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from visiongate.monitoring.drift.tails import chi_squared_tail, hypergeometric_tail

Array = npt.NDArray[np.generic]
Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
# Wei, F., Dudley, R. M. (2012), Two-sample Dvoretzky-Kiefer-Wolfowitz inequalities, Statistics & Probability Letters 82(3),
# 636-644: for samples of equal size, from 4. Smaller constants hold for other sizes.
_FACTOR: Final = 2.16863
# Images that a category must be expected to have in the smaller sample, so that the chi-squared distribution holds.
_MIN_EXPECTED: Final = 10


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a test.

    Attributes:
        effect: How large the difference is.
        p_value: Probability of a difference at least as large without drift; not adjusted for other tests.
    """

    effect: float
    p_value: float


def compare_numbers(before: Array, after: Array) -> Outcome:
    """Test whether two samples have the same distribution: Kolmogorov and Smirnov.

    The p-value is the bound of Wei and Dudley. It is close to the exact one in the tail, and holds for ties, which only make it
    larger than needed.

    Args:
        before: N, sorted.
        after: n, of the same type, so that equal values are equal.
    """
    after = np.sort(after)
    below = [_share_below(sample, np.concatenate([before, after])) for sample in (before, after)]
    distance = float(np.abs(below[0] - below[1]).max())
    return Outcome(distance, kolmogorov_smirnov_bound(distance, len(before), len(after)))


def find_largest_gap(before: Array, after: Array) -> tuple[float, float, float]:
    """Return the number at which the distribution functions differ most, and the shares at most as large, before and after.

    Args:
        before: N, sorted.
        after: n, of the same type.
    """
    values = np.concatenate([before, after])
    shares = [_share_below(sample, values) for sample in (before, np.sort(after))]
    most = int(np.abs(shares[0] - shares[1]).argmax())
    return float(values[most]), float(shares[0][most]), float(shares[1][most])


def kolmogorov_smirnov_bound(distance: float, before: int, after: int) -> float:
    """Return a p-value of a distance of the distribution functions of two samples of at least 4."""
    return min(1.0, _FACTOR * math.exp(-2 * distance**2 * before * after / (before + after)))


def compare_counts(before: Counts, after: Counts) -> Outcome:
    """Test whether two samples have the same shares of categories. The effect is the total variation distance.

    A chi-squared test finds small differences of many categories. Fisher's exact tests of each category against the others
    find those of rare and new ones. Bonferroni's correction holds for both together.

    Args:
        before: Images by category, K.
        after: The same.
    """
    both = before + after
    before, after = before[both > 0], after[both > 0]
    distance = float(np.abs(after / after.sum() - before / before.sum()).sum() / 2)
    if len(before) < 2:  # noqa: PLR2004 - a single category cannot differ
        return Outcome(distance, 1.0)
    fisher = len(before) * min(compare_each_count(before, after))
    return Outcome(distance, min(1.0, 2 * min(fisher, _chi_squared_p(before, after))))


def compare_each_count(before: Counts, after: Counts) -> list[float]:
    """Return the p-value of each category against the others, by Fisher's exact test; not adjusted for their number."""
    return list(map(_fisher_p, before.tolist(), after.tolist(), *_totals(before, after)))


def compare_marks(before: npt.NDArray[np.bool_], after: npt.NDArray[np.bool_]) -> Outcome:
    """Test whether more images are marked than before, by Fisher's exact test. The effect is the difference of the shares."""
    marked, total = int(before.sum() + after.sum()), len(before) + len(after)
    p_value = hypergeometric_tail(marked, len(after), total, int(after.sum()))
    return Outcome(float(after.mean() - before.mean()), p_value)


def _share_below(ordered: Array, values: Array) -> Floats:
    return np.asarray(np.searchsorted(ordered, values, side="right") / len(ordered), np.float64)


def _totals(before: Counts, after: Counts) -> tuple[list[int], list[int]]:
    return [int(before.sum())] * len(before), [int(after.sum())] * len(after)


def _fisher_p(before: int, after: int, size_before: int, size_after: int) -> float:
    """Return the two-sided p-value of one category: twice the smaller tail."""
    total = size_before + size_after
    more = hypergeometric_tail(before + after, size_after, total, after)
    fewer = hypergeometric_tail(before + after, size_before, total, before)
    return min(1.0, 2 * min(more, fewer))


def _chi_squared_p(before: Counts, after: Counts) -> float:
    sizes = np.array([before.sum(), after.sum()])
    counts = np.stack([before, after])
    rare = counts.sum(axis=0) * (sizes.min() / sizes.sum()) < _MIN_EXPECTED
    merged = np.column_stack([counts[:, ~rare], counts[:, rare].sum(axis=1)])
    merged = merged[:, merged.sum(axis=0) > 0]
    expected = np.outer(sizes / sizes.sum(), merged.sum(axis=0))
    statistic = float(((merged - expected) ** 2 / expected).sum())
    return chi_squared_tail(statistic, merged.shape[1] - 1)
