"""The shares of the true classes in a window, estimated from predicted classes."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from visiongate.monitoring.drift.distributions import compare_each_count

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
LIMITS: Final = (
    "Holds if images of each class look as in the reference (label shift). A new class makes it wrong."
)
# Draws from the posterior distribution, for the interval, and its quantiles.
_DRAWS: Final = 400
# The memory that matrices of all draws may take, as numbers.
_NUMBERS: Final = 20_000_000
_QUANTILES: Final = (0.025, 0.975)
# Added to each cell of a row of the confusion matrix, divided by the number of classes.
_PRIOR: Final = 1.0
# Of the least squares, relative to the largest singular value: a class that is confused with another has no share of its own.
_RIDGE: Final = 1e-6
_SEED: Final = 20261129


@dataclass(frozen=True, slots=True)
class LabelShift:
    """Shares of the true classes, each K.

    Attributes:
        shares: The estimate.
        low, high: The 95% interval of each by itself.
        changed: Whether the share has changed for sure: it was outside the interval, and predictions of the class are more or
            less frequent than before by Fisher's exact test, at 95% for all classes together (Bonferroni).
    """

    shares: Floats
    low: Floats
    high: Floats
    changed: npt.NDArray[np.bool_]


def estimate_label_shift(confusion: Counts, predicted: Counts) -> LabelShift:
    """Estimate the shares of the true classes by inverting the confusion matrix.

    Lipton, Z. C., Wang, Y., Smola, A. (2018), Detecting and correcting for label shift with black box predictors, ICML. The
    interval is of the posterior distribution of the matrix' rows and of the predicted shares, both Dirichlet.

    Args:
        confusion: Held-out images by true class (rows) and predicted class (columns), K×K.
        predicted: Images of the window by predicted class, K.
    """
    generator, count = np.random.default_rng(_SEED), len(predicted)
    rows = confusion + _PRIOR / count
    estimate = _solve(rows[None] / rows.sum(axis=1, keepdims=True), predicted[None] / predicted.sum())
    draws = max(40, min(_DRAWS, _NUMBERS // count**2))
    matrices = generator.standard_gamma(np.broadcast_to(rows, (draws, count, count)))
    matrices /= matrices.sum(axis=2, keepdims=True)
    sampled = _solve(matrices, generator.dirichlet(predicted + 1 / count, draws))
    low, high = np.quantile(sampled, _QUANTILES, axis=0)
    usual = confusion.sum(axis=1) / confusion.sum()
    # Of many intervals, some miss. By chance alone, no class passes this test in 95% of the windows.
    p_values = np.array(compare_each_count(confusion.sum(axis=0), predicted))
    changed = ((usual < low) | (usual > high)) & (p_values <= 2 * _QUANTILES[0] / count)
    return LabelShift(estimate[0], np.minimum(low, estimate[0]), np.maximum(high, estimate[0]), changed)


def _solve(rates: Floats, shares: Floats) -> Floats:
    """Return the shares of true classes that lead to the shares of predictions by given rates, by least squares."""
    gram = rates @ rates.swapaxes(1, 2)
    gram += _RIDGE * np.eye(rates.shape[1]) * np.trace(gram, axis1=1, axis2=2)[:, None, None] / rates.shape[1]
    solved = np.linalg.solve(gram, rates @ shares[:, :, None])[:, :, 0]
    return _project(np.asarray(solved, np.float64))


def _project(values: Floats) -> Floats:
    """Return the nearest points whose coordinates are at least 0 and sum to 1.

    Duchi, J. et al. (2008), Efficient projections onto the l1-ball for learning in high dimensions, ICML.
    """
    ordered = -np.sort(-values, axis=1)
    excess = (ordered.cumsum(axis=1) - 1) / np.arange(1, values.shape[1] + 1)
    last = (ordered > excess).sum(axis=1, keepdims=True) - 1
    return np.maximum(0.0, values - np.take_along_axis(excess, last, axis=1))
