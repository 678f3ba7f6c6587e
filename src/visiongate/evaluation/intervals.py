"""Confidence intervals: the range in which a metric would lie for other test images of the same kind."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from visiongate.comparison.resampling import MAX_CELLS, draw_counts, split_samples
from visiongate.evaluation.metrics import count_confusions
from visiongate.evaluation.sampled_metrics import (
    ResampledSplit,
    SampledMetrics,
    class_metrics,
    positive_metrics,
    rank_classes,
    ranking_metrics,
)
from visiongate.records.evaluation import ClassMetrics
from visiongate.records.interval import Interval, wilson_interval
from visiongate.settings.evaluation import Evaluation

Floats = npt.NDArray[np.float64]

# Images × classes × samples for ROC-AUC and average precision: a few seconds.
MAX_RANKED_CELLS, MIN_RANKED_SAMPLES = 200_000_000, 100
# Jeffreys' prior, of the correct prediction and of all wrong ones together.
PRIOR = 0.5


def find_intervals(split: ResampledSplit, settings: Evaluation) -> dict[str, Interval]:
    """Return the interval of each metric of `compute_metrics` and `compute_positive_metrics`, and of the given means.

    Images of one group are not independent: groups are resampled as a whole, and shares count effective draws.

    Accuracy, sensitivity and specificity have Wilson's interval. The other metrics have the percentile bootstrap: Efron, B.,
    Tibshirani, R. J. (1993), An introduction to the bootstrap, section 13.3. The bootstrap cannot show a mistake that the test
    images lack, so that a metric of the confusion matrix, such as F1, has the wider of the bootstrap's bounds and those of
    `draw_confusions`. ROC-AUC and average precision of perfectly separated classes have an interval without width. Noise lowers
    minima and raises the calibration error, so that the intervals of ``recall_min``, ``f1_min`` and ``ece`` are biased.

    Args:
        split: The test split.
        settings: Samples, bins, confidence and seed.
    """
    draws = split.draws()
    accuracy = wilson_interval(float(split.predictions.correct.mean()), draws, settings.confidence)
    bounds = _posterior_bounds(split, draws, settings)
    intervals = {
        name: _widen(interval, bounds.get(name)) for name, interval in _bootstrap(split, settings).items()
    }
    return intervals | {"accuracy": accuracy, **_binary_shares(split, settings.confidence)}


def class_intervals(
    split: ResampledSplit, results: Sequence[ClassMetrics], confidence: float
) -> dict[str, dict[str, Interval]]:
    """Return the intervals of each class's recall, precision and F1, by metric and class; undefined ones are missing.

    Recall and precision have Wilson's interval, with groups as in `find_intervals`. The bounds of F1 are those at the bounds of
    both, which is wider than necessary.
    """
    labels, predicted = split.predictions.labels, split.predictions.predicted
    intervals: dict[str, dict[str, Interval]] = {"recall": {}, "precision": {}, "f1": {}}
    for number, result in enumerate(results):
        if result.recall is None or result.precision is None or result.f1 is None:
            continue
        actual, called = labels == number, predicted == number
        called_draws = split.draws(called) if called.any() else 1.0
        recall = wilson_interval(result.recall, split.draws(actual), confidence)
        precision = wilson_interval(result.precision, called_draws, confidence)
        low, high = (_harmonic_mean(recall.low, precision.low), _harmonic_mean(recall.high, precision.high))
        intervals["recall"][result.name] = recall
        intervals["precision"][result.name] = precision
        intervals["f1"][result.name] = Interval(result.f1, low, high)
    return intervals


def draw_confusions(
    confusions: npt.NDArray[np.int64], weight: float, samples: int, seed: int
) -> Iterator[tuple[Floats, Floats, Floats]]:
    """Yield correct, actual and predicted images, K×S each, of confusion matrices that are likely given an observed one.

    Each row is drawn from a Dirichlet distribution with Jeffreys' prior. Goutte, C., Gaussier, E. (2005), A probabilistic
    interpretation of precision, recall and F-score, ECIR; Tötsch, N., Hoffmann, D. (2021), Classifier uncertainty: evidence,
    potential impact, and probabilistic treatment, PeerJ Computer Science 7:e398.

    Args:
        confusions: K×K, the actual class down.
        weight: Independent draws per image, at most 1.
        samples: How many to draw.
        seed: Of the draw.
    """
    classes = len(confusions)
    prior = np.full((classes, classes), PRIOR / max(1, classes - 1))
    np.fill_diagonal(prior, PRIOR)
    images = confusions.sum(axis=1).astype(np.float64)
    generator = np.random.default_rng(seed)
    for width in split_samples(samples, 4 * MAX_CELLS // classes**2):
        # Gamma draws, scaled to the sum of each row, are Dirichlet draws.
        cells = generator.standard_gamma(confusions * weight + prior, (width, classes, classes))
        cells *= (images / np.maximum(cells.sum(axis=2), np.finfo(np.float64).tiny))[..., None]
        correct = np.diagonal(cells, axis1=1, axis2=2)
        yield correct.T, np.repeat(images[:, None], width, axis=1), cells.sum(axis=1).T


def _harmonic_mean(recall: float, precision: float) -> float:
    return 2 * recall * precision / (recall + precision) if recall + precision else 0.0


def _binary_shares(split: ResampledSplit, confidence: float) -> dict[str, Interval]:
    """Return Wilson's intervals of sensitivity and specificity."""
    if split.positive is None:
        return {}
    intervals = {}
    actual = split.predictions.labels == split.positive
    for name, chosen in (("sensitivity", actual), ("specificity", ~actual)):
        if chosen.any():
            share = float(split.predictions.correct[chosen].mean())
            intervals[name] = wilson_interval(share, split.draws(chosen), confidence)
    return intervals


def _bootstrap(split: ResampledSplit, settings: Evaluation) -> dict[str, Interval]:
    """Return the percentile intervals; a metric that is undefined in every sample has none."""
    groups = int(split.groups.max()) + 1
    metrics, ranked = SampledMetrics(split, settings.calibration_bins), rank_classes(split.predictions)
    once = np.ones((groups, 1))
    observed = metrics(once) | ranking_metrics(ranked, once[split.groups])
    cost = max(1, len(ranked) * len(split.groups))
    samples = min(settings.bootstrap_samples, max(MIN_RANKED_SAMPLES, MAX_RANKED_CELLS // cost))
    summed = [
        metrics(weights) for weights in _draw(split, metrics.rows, settings.seed, settings.bootstrap_samples)
    ]
    rankings = [
        ranking_metrics(ranked, weights[split.groups])
        for weights in _draw(split, len(split.groups), settings.seed, samples)
    ]
    values = _concatenate(summed) | _concatenate(rankings)
    levels = _levels(settings)
    return {
        name: Interval(float(observed[name][0]), *map(float, np.nanquantile(sampled, levels)))
        for name, sampled in values.items()
        if not np.isnan(observed[name][0]) and not np.isnan(sampled).all()
    }


def _posterior_bounds(
    split: ResampledSplit, draws: float, settings: Evaluation
) -> dict[str, tuple[float, float]]:
    """Return the bounds of the metrics that follow from the confusion matrix."""
    weight, parts = draws / len(split.groups), []
    confusions = count_confusions(split.predictions)
    for sums in draw_confusions(confusions, weight, settings.bootstrap_samples, settings.seed):
        binary = {} if split.positive is None else positive_metrics(*sums, split.positive)
        parts.append(class_metrics(*sums) | binary)
    return {
        name: (float(low), float(high))
        for name, values in _concatenate(parts).items()
        for low, high in [np.quantile(values, _levels(settings))]
    }


def _levels(settings: Evaluation) -> tuple[float, float]:
    tail = (1 - settings.confidence) / 2
    return tail, 1 - tail


def _concatenate(parts: Sequence[Mapping[str, Floats]]) -> dict[str, Floats]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _widen(interval: Interval, bounds: tuple[float, float] | None) -> Interval:
    if bounds is None:
        return interval
    return Interval(interval.value, min(interval.low, bounds[0]), max(interval.high, bounds[1]))


def _draw(split: ResampledSplit, rows: int, seed: int, samples: int) -> Iterator[Floats]:
    """Yield how often each group is drawn, groups × samples, in chunks that bound the memory.

    Images that are worth less than independent ones are resampled by fewer draws, which widens the distribution: Politis, D.
    N., Romano, J. P., Wolf, M. (1999), Subsampling, section 2.
    """
    groups = int(split.groups.max()) + 1
    draws = max(1, round(groups * split.independence))
    generator = np.random.default_rng(seed)
    for width in split_samples(samples, MAX_CELLS // max(groups, rows)):
        yield draw_counts(generator, groups, draws, width).astype(np.float64)
