"""Whether recent predictions differ from earlier ones of the same version: pure functions of counts and confidences.

The tests assume that predictions are drawn independently. A flood by one client, or a window that has only the night, breaks
this and is found as drift, too. Each check has an error level of its own: a level of 1% once a day is a false alarm in about
100 days. Drift does not say that answers have become worse; feedback does.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from visiongate.errors import SettingsError
from visiongate.monitoring.drift_report import Quantity

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
# Of each test, at least; the smallest p-value is 1 in 10,000.
PERMUTATIONS: Final = 9999
# They take some 15 s of each test.
MAX_PERMUTATIONS: Final = 1_000_000
# How many times smaller than the level the smallest adjusted p-value is.
RESOLUTION: Final = 10
# Permutations in memory at a time.
CHUNK: Final = 1000
# In which confidences are counted, of about equal numbers.
CELLS: Final = 100
# Of permutations that differ from the actual statistic by rounding only.
ROUNDING: Final = 1e-9
SEED: Final = 20261129
# Given the counts of permuted windows B×K, those of all predictions K, and the size of the window; B values.
Statistic = Callable[[Counts, Counts, int], Floats]


@dataclass(frozen=True, slots=True)
class Sample:
    """Predictions of a version.

    Attributes:
        classes: By predicted class.
        confidences: float64, N.
        first_us, last_us: Times of the first and the last one, in microseconds since 1970; None without predictions.
        total: Of how many these are an even selection.
    """

    classes: Counter[str]
    confidences: Floats
    first_us: int | None
    last_us: int | None
    total: int

    def __len__(self) -> int:
        """Return the number of predictions."""
        return len(self.confidences)


@dataclass(frozen=True, slots=True)
class Difference:
    """How a window differs from a reference in one quantity.

    Attributes:
        check: The quantity.
        distance: From 0 to 1, as `drift_report.Comparison` describes it.
        p_value: Of this test alone.
        what: In words.
    """

    check: Quantity
    distance: float
    p_value: float
    what: str


def count_permutations(comparisons: int, level: float) -> int:
    """Return how many permutations each test needs, so that its p-value, adjusted for all comparisons, can be below the level.

    Raises:
        SettingsError: They would be more than `MAX_PERMUTATIONS`.
    """
    wanted = max(PERMUTATIONS, math.ceil(RESOLUTION * comparisons / level))
    if wanted > MAX_PERMUTATIONS:
        lowest = RESOLUTION * comparisons / MAX_PERMUTATIONS
        raise SettingsError(
            f"serving.drift.level = {level:g} is too low for {comparisons} comparisons; use at least {lowest:g}"
        )
    return wanted


def compare(reference: Sample, window: Sample, permutations: int = PERMUTATIONS) -> list[Difference]:
    """Compare the predicted classes and the confidences.

    Args:
        reference: At least one prediction.
        window: At least one prediction.
        permutations: Of each test.
    """
    return [
        compare_classes(reference.classes, window.classes, permutations),
        compare_confidences(reference.confidences, window.confidences, permutations),
    ]


def compare_classes(
    reference: Counter[str], window: Counter[str], permutations: int = PERMUTATIONS
) -> Difference:
    """Test whether two samples of predictions have the same shares of classes, by the chi-squared statistic."""
    names = sorted(reference | window)
    before, after = (np.array([counts[name] for name in names]) for counts in (reference, window))
    p_value = permutation_p_value(before, after, _chi_squared, permutations)
    old, new = before / before.sum(), after / after.sum()
    most = int(np.abs(new - old).argmax())
    what = f"{new[most]:.1%} of the predictions are {names[most]}, {old[most]:.1%} were"
    return Difference("classes", float(np.abs(new - old).sum() / 2), p_value, what)


def compare_confidences(reference: Floats, window: Floats, permutations: int = PERMUTATIONS) -> Difference:
    """Test whether two samples of confidences have the same distribution, by the statistic of Kolmogorov and Smirnov.

    They are counted in `CELLS` cells between quantiles of both samples together, which a permutation does not change.
    """
    pooled = np.concatenate([reference, window])
    edges = np.unique(np.quantile(pooled, np.linspace(0, 1, CELLS + 1)[1:-1]))
    before, after = (
        np.bincount(np.searchsorted(edges, sample), minlength=len(edges) + 1)
        for sample in (reference, window)
    )
    p_value = permutation_p_value(before, after, _kolmogorov_smirnov, permutations)
    distance = float(_kolmogorov_smirnov(after[None], before + after, len(window))[0])
    what = f"the mean is {window.mean():.3f}, it was {reference.mean():.3f}"
    return Difference("confidence", distance, p_value, what)


def permutation_p_value(
    before: Counts, after: Counts, statistic: Statistic, permutations: int = PERMUTATIONS
) -> float:
    """Return the probability that a random division of all predictions has a statistic as large as the actual one.

    The counts of a random division follow the multivariate hypergeometric distribution, from which they are drawn with a fixed
    seed. The actual division counts as one of them: Phipson, B., Smyth, G. K. (2010), Permutation p-values should never be
    zero, Statistical Applications in Genetics and Molecular Biology 9(1), article 39.

    Args:
        before: Predictions of the reference by cell, K.
        after: Predictions of the window by cell, K.
        statistic: Larger for a larger difference.
        permutations: Random divisions.
    """
    used = before + after > 0
    both, size = (before + after)[used], int(after.sum())
    actual = statistic(after[used][None], both, size)[0] - ROUNDING
    generator, exceeding = np.random.default_rng(SEED), 0
    for start in range(0, permutations, CHUNK):
        count = min(CHUNK, permutations - start)
        # The other method needs a copy of all predictions for each division.
        windows = generator.multivariate_hypergeometric(both, size, size=count, method="marginals")
        exceeding += int((statistic(windows, both, size) >= actual).sum())
    return (1 + exceeding) / (1 + permutations)


def adjust_by_holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values that may be compared with one level for all tests together.

    Holm, S. (1979), A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6, 65-70.
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def _chi_squared(windows: Counts, both: Counts, size: int) -> Floats:
    """Return Pearson's statistic without its constant factor: the totals of rows and columns are fixed."""
    expected = both * (size / both.sum())
    return np.asarray(((windows - expected) ** 2 / expected).sum(axis=1), np.float64)


def _kolmogorov_smirnov(windows: Counts, both: Counts, size: int) -> Floats:
    """Return the largest difference of the distribution functions: Smirnov (1939), the test of two samples."""
    below = windows.cumsum(axis=1)
    rest = max(1, int(both.sum()) - size)
    return np.asarray(np.abs(below / size - (both.cumsum() - below) / rest).max(axis=1), np.float64)
