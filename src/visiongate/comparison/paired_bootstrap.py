"""The paired bootstrap: is one model better than another by a given metric, and by how much?

Each metric here is a function of sums over the images. A group of images (or an image without a group) is a column of a sparse
matrix of such sums, a resample is a weight per group, and all resamples together are one matrix product.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array, vstack
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from visiongate.comparison.predictions import UnlabeledPredictions
from visiongate.comparison.resampling import MAX_CELLS, draw_counts, split_samples

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

# Differences below it are rounding.
ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Resampling:
    """How to resample. Each bound of the interval is one-sided at ``alpha``."""

    samples: int
    seed: int
    alpha: float


@dataclass(frozen=True, slots=True)
class PairedMetric:
    """A metric of two models that can be resampled.

    Attributes:
        challenger: Sums × groups, what each group adds to the sums of the challenger.
        champion: The same for the champion.
        statistic: Computes the metric, S values, from sums × S resamples.
    """

    challenger: csr_array
    champion: csr_array
    statistic: Callable[[Floats], Floats]


@dataclass(frozen=True, slots=True)
class BootstrapResult:
    """Two models by one metric.

    Attributes:
        challenger: Its metric.
        champion: Its metric.
        low: Lower bound of the challenger's metric minus the champion's.
        high: Upper bound.
        p_above: Of so large a difference if the challenger is not higher.
        p_below: Of so small a difference if the challenger is not lower.
    """

    challenger: float
    champion: float
    low: float
    high: float
    p_above: float
    p_below: float


def paired_bootstrap(pair: PairedMetric, resampling: Resampling) -> BootstrapResult:
    """Bound the difference of two models, and test whether it is above or below 0.

    Groups are drawn with replacement, with both models' predictions. The percentiles are widened by Student's t, because the
    bootstrap of few groups is too narrow (Hesterberg). The p-value is the larger of two: the bootstrap's, and that of a
    permutation test which exchanges the models' predictions within random groups (Yeh). The second is exact at any size;
    the bootstrap alone is too confident if only a few groups differ. No p-value is below 1 / (samples + 1).

    Efron, B., Tibshirani, R. J. (1993), An introduction to the bootstrap, section 13.3; Hesterberg, T. C. (2015), What
    teachers should know about the bootstrap, The American Statistician 69, 371-386, section 4.3; Davison, A. C., Hinkley,
    D. V. (1997), Bootstrap methods and their application, section 4.2; Yeh, A. (2000), More accurate tests for the
    statistical significance of result differences, COLING.

    Raises:
        ValueError: There is a single group.
    """
    groups = pair.challenger.shape[1]
    if groups < 2:  # noqa: PLR2004
        raise ValueError("a single group cannot be resampled")
    ones = np.ones((groups, 1))
    challenger, champion = (
        float(pair.statistic(sums @ ones)[0]) for sums in (pair.challenger, pair.champion)
    )
    resampled, exchanged = _resample(pair, resampling), _exchange(pair, resampling)
    levels = np.array([resampling.alpha, 1 - resampling.alpha])
    low, high = np.quantile(resampled, _widened(levels, groups))
    p_above, p_below = (
        max(
            _unwidened(_share(sign * resampled <= ROUNDING), groups),
            _share(sign * exchanged >= sign * (challenger - champion) - ROUNDING),
        )
        for sign in (1, -1)
    )
    return BootstrapResult(challenger, champion, float(low), float(high), p_above, p_below)


def pair_metric(
    metric: str,
    challenger: UnlabeledPredictions,
    champion: UnlabeledPredictions,
    labels: Integers,
    groups: Integers,
) -> PairedMetric:
    """Prepare a metric of two models for resampling.

    Args:
        metric: ``accuracy``, ``balanced_accuracy``, ``f1_macro``, ``log_loss`` or ``roc_auc``, as scikit-learn defines them;
            averages leave out a class without images.
        challenger: Its predictions for N images.
        champion: Its predictions for the same images.
        labels: N, in 0..K-1.
        groups: N, the number of each image's group.
    """
    if metric == "roc_auc":
        return _pair_rankings(challenger, champion, labels, groups)
    classes, statistic = challenger.probabilities.shape[1], _STATISTICS[metric]
    return PairedMetric(
        _sum_by_group(challenger, labels, groups),
        _sum_by_group(champion, labels, groups),
        lambda sums: statistic(_ClassSums(sums, classes)),
    )


def _share(true: npt.NDArray[np.bool_]) -> float:
    """Return the share of true values, counting the observed data as one more."""
    return float((np.count_nonzero(true) + 1) / (len(true) + 1))


def _widened(level: Floats, groups: int) -> Floats:
    """Return the percentiles that bound at a level with so few groups."""
    widened: Floats = ndtr(stdtrit(groups - 1, level) * (groups / (groups - 1)) ** 0.5)
    return widened


def _unwidened(share: float, groups: int) -> float:
    """Return the level at which a percentile bounds: the inverse of `_widened`."""
    return float(stdtr(groups - 1, ndtri(share) * ((groups - 1) / groups) ** 0.5)) if share < 1 else 1.0


def _resample(pair: PairedMetric, resampling: Resampling) -> Floats:
    """Return the difference in each sample of groups drawn with replacement."""
    groups = pair.challenger.shape[1]
    generator = np.random.default_rng((resampling.seed, 0))
    parts = []
    for samples in _chunks(pair, resampling.samples):
        counts = draw_counts(generator, groups, groups, samples)
        parts.append(pair.statistic(pair.challenger @ counts) - pair.statistic(pair.champion @ counts))
    return np.concatenate(parts)


def _exchange(pair: PairedMetric, resampling: Resampling) -> Floats:
    """Return the difference after both models' predictions are exchanged in a random half of the groups."""
    groups = pair.challenger.shape[1]
    generator = np.random.default_rng((resampling.seed, 1))
    both = (pair.challenger + pair.champion) @ np.ones((groups, 1))
    parts = []
    for samples in _chunks(pair, resampling.samples):
        kept = generator.integers(2, size=(groups, samples), dtype=np.int8).astype(np.float64)
        challenger = pair.challenger @ kept + pair.champion @ (1 - kept)
        parts.append(pair.statistic(challenger) - pair.statistic(both - challenger))
    return np.concatenate(parts)


def _chunks(pair: PairedMetric, samples: int) -> Iterator[int]:
    """Split the number of samples so that no table is large."""
    return split_samples(samples, MAX_CELLS // max(pair.challenger.shape))


class _ClassSums:
    """The rows of a table of sums: per class the correct, actual and predicted images, K×S each; and the log loss, S."""

    def __init__(self, sums: Floats, classes: int) -> None:
        self.correct, self.actual, self.predicted = sums[: 3 * classes].reshape(3, classes, -1)
        self.loss = sums[-1]
        self.images = self.actual.sum(axis=0)

    def mean(self, part: Floats, whole: Floats) -> Floats:
        """Average a ratio over the classes that have images."""
        ratio = np.divide(part, whole, out=np.zeros_like(part), where=self.actual > 0)
        mean: Floats = ratio.sum(axis=0) / (self.actual > 0).sum(axis=0)
        return mean


_STATISTICS: dict[str, Callable[[_ClassSums], Floats]] = {
    "accuracy": lambda sums: sums.correct.sum(axis=0) / sums.images,
    "balanced_accuracy": lambda sums: sums.mean(sums.correct, sums.actual),
    "f1_macro": lambda sums: sums.mean(2 * sums.correct, sums.actual + sums.predicted),
    "log_loss": lambda sums: sums.loss / sums.images,
}


def _sum_by_group(predictions: UnlabeledPredictions, labels: Integers, groups: Integers) -> csr_array:
    """Return the rows of `_ClassSums`, with a column per group."""
    classes = predictions.probabilities.shape[1]
    likelihood = np.take_along_axis(predictions.probabilities, labels[:, None], axis=1)[:, 0]
    # Clipped as scikit-learn does.
    loss = -np.log(np.clip(likelihood, np.finfo(np.float64).eps, 1))
    one = np.ones(len(labels))
    values = np.concatenate((predictions.predicted == labels, one, one, loss))
    last = np.full(len(labels), 3 * classes)
    rows = np.concatenate((labels, labels + classes, predictions.predicted + 2 * classes, last))
    return csr_array((values, (rows, np.tile(groups, 4))), shape=(3 * classes + 1, groups.max() + 1))


def _pair_rankings(
    challenger: UnlabeledPredictions, champion: UnlabeledPredictions, labels: Integers, groups: Integers
) -> PairedMetric:
    """Rank the scores of both models together, so that a resample may exchange them."""
    classes = challenger.probabilities.shape[1]
    # Both of two classes have the same area.
    ranked = range(classes) if classes > 2 else (1,)  # noqa: PLR2004
    tables = [
        _count_scores((challenger.probabilities[:, k], champion.probabilities[:, k]), labels == k, groups)
        for k in ranked
    ]
    first, second = (csr_array(vstack(parts)) for parts in zip(*tables, strict=True))
    heights = [table.shape[0] for table, _ in tables]
    return PairedMetric(first, second, lambda sums: _mean_area(sums, heights))


def _count_scores(
    scores: tuple[Floats, Floats], positive: npt.NDArray[np.bool_], groups: Integers
) -> list[csr_array]:
    """Count, per model and group, the images of the class at each distinct score, and below them those of the rest."""
    levels, index = np.unique(np.concatenate(scores), return_inverse=True)
    rest = np.where(positive, 0, len(levels))
    shape, one = (2 * len(levels), groups.max() + 1), np.ones(len(groups))
    return [csr_array((one, (rows + rest, groups)), shape=shape) for rows in np.split(index, 2)]


def _mean_area(sums: Floats, heights: list[int]) -> Floats:
    """Return the mean over classes of the probability that an image of the class is scored above one of the rest."""
    areas = []
    for part in np.split(sums, np.cumsum(heights)[:-1]):
        positive, rest = part.reshape(2, -1, part.shape[1])
        pairs = positive.sum(axis=0) * rest.sum(axis=0)
        # Ties count half.
        ordered = (positive * (rest.cumsum(axis=0) - rest / 2)).sum(axis=0)
        areas.append(np.divide(ordered, pairs, out=np.full_like(ordered, np.nan), where=pairs > 0))
    known = np.isfinite(areas)
    count = known.sum(axis=0)
    total = np.where(known, areas, 0).sum(axis=0)
    mean: Floats = np.divide(total, count, out=np.full(len(count), 0.5), where=count > 0)
    return mean
