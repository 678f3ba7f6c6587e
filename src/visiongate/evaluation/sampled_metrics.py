"""Metrics of many bootstrap samples at once.

A sample is a weight per group of images, and S samples are a matrix, groups × S. Most metrics follow from sums over the images,
which are one matrix product for all samples. ROC-AUC and average precision follow from weighted rankings.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from visiongate.evaluation.calibration import assign_bins
from visiongate.models.predictions import Predictions
from visiongate.records.interval import effective_draws

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ResampledSplit:
    """N images that are resampled by group.

    Attributes:
        predictions: Of the images.
        groups: N, the number of each image's group.
        positive: The number of the positive class of two, or None.
        uncalibrated: The predictions without the temperature, or None if it is unknown.
        means: By metric, the values of N images whose mean the metric is.
        independence: How many independent images each image is worth, at most 1.
    """

    predictions: Predictions
    groups: Integers
    positive: int | None
    uncalibrated: Predictions | None
    means: Mapping[str, npt.NDArray[np.floating | np.bool_]]
    independence: float = 1.0

    def draws(self, chosen: npt.NDArray[np.bool_] | None = None) -> float:
        """Return how many independent images the images, or the chosen ones, are worth."""
        groups = self.groups if chosen is None else self.groups[chosen]
        return effective_draws(groups) * self.independence


class SampledMetrics:
    """The metrics that follow from sums over the images.

    The table of sums has a column per group. Its rows are, per class, the correct, the actual and the predicted images; per
    bin, the gap between accuracy and confidence; and per mean, the sum of the values.
    """

    def __init__(self, split: ResampledSplit, bins: int) -> None:
        self._classes, self._bins, self._positive = len(split.predictions.classes), bins, split.positive
        calibrations = {"ece": split.predictions, "ece_uncalibrated": split.uncalibrated}
        known = {name: each for name, each in calibrations.items() if each is not None}
        self._gaps, self._means = list(known), list(split.means)
        blocks = [
            *_class_blocks(split.predictions),
            *(_gap_block(each, bins) for each in known.values()),
            *((np.zeros_like(split.groups), np.asarray(each, np.float64)) for each in split.means.values()),
        ]
        heights = [self._classes] * 3 + [bins] * len(known) + [1] * len(self._means)
        starts = np.cumsum([0, *heights])
        self.rows = int(starts[-1])
        row = np.concatenate([rows + start for (rows, _), start in zip(blocks, starts[:-1], strict=True)])
        values = np.concatenate([values for _, values in blocks])
        columns = np.tile(split.groups, len(blocks))
        self._table = csr_array((values, (row, columns)), shape=(self.rows, int(split.groups.max()) + 1))

    def __call__(self, weights: Floats) -> dict[str, Floats]:
        """Return each metric, S values, of S samples, groups × S."""
        sums = self._table @ weights
        correct, actual, predicted = sums[: 3 * self._classes].reshape(3, self._classes, -1)
        images = actual.sum(axis=0)
        metrics = class_metrics(correct, actual, predicted)
        for index, name in enumerate(self._gaps):
            start = 3 * self._classes + index * self._bins
            metrics[name] = np.abs(sums[start : start + self._bins]).sum(axis=0) / images
        means = sums[3 * self._classes + len(self._gaps) * self._bins :] / images
        metrics |= dict(zip(self._means, means, strict=True))
        if self._positive is not None:
            metrics |= positive_metrics(correct, actual, predicted, self._positive)
        return metrics


def class_metrics(correct: Floats, actual: Floats, predicted: Floats) -> dict[str, Floats]:
    """Return the metrics over K classes of S samples.

    Means and minima leave out a class that a sample lacks, as in `visiongate.evaluation.metrics`.

    Args:
        correct: K×S, images of each class that are predicted as it.
        actual: K×S, images of each class.
        predicted: K×S, images predicted as each class.
    """
    known = actual > 0
    by_class = {
        "precision": np.where(known, np.nan_to_num(_ratio(correct, predicted)), np.nan),
        "recall": _ratio(correct, actual),
        "f1": _ratio(2 * correct, np.where(known, actual + predicted, 0)),
    }
    metrics = {}
    for name, values in by_class.items():
        metrics[f"{name}_macro"] = _mean(values)
        metrics[f"{name}_weighted"] = (np.where(known, values, 0) * actual).sum(axis=0) / actual.sum(axis=0)
    metrics["balanced_accuracy"] = metrics["recall_macro"]
    metrics |= {f"{name}_min": np.nanmin(by_class[name], axis=0) for name in ("recall", "f1")}
    return {**metrics, "mcc": _matthews(correct.sum(axis=0), actual, predicted)}


def positive_metrics(correct: Floats, actual: Floats, predicted: Floats, positive: int) -> dict[str, Floats]:
    """Return precision and F1 of the positive class; arguments as in `class_metrics`."""
    return {
        "precision_positive": _ratio(correct[positive], predicted[positive]),
        "f1_positive": _ratio(2 * correct[positive], actual[positive] + predicted[positive]),
    }


@dataclass(frozen=True, slots=True)
class RankedClass:
    """The images by their score for one class.

    Attributes:
        order: N, from the highest score.
        positive: N, in that order, whether an image is of the class.
        ends: The last index of each run of equal scores.
    """

    order: Integers
    positive: npt.NDArray[np.bool_]
    ends: Integers

    def areas(self, weights: Floats) -> tuple[Floats, Floats]:
        """Return ROC-AUC and average precision, S each, as scikit-learn defines them; NaN if one side has no weight.

        Args:
            weights: N×S, in the images' own order.
        """
        ordered = weights[self.order]
        total = np.cumsum(ordered, axis=0)[self.ends]
        hits = np.cumsum(np.where(self.positive[:, None], ordered, 0), axis=0)[self.ends]
        others = total - hits
        gained = np.diff(hits, axis=0, prepend=0)
        area = (np.diff(others, axis=0, prepend=0) * (hits - gained / 2)).sum(axis=0)
        precision = np.nan_to_num(_ratio(hits, total))
        average = _ratio((gained * precision).sum(axis=0), hits[-1] * (others[-1] > 0))
        return _ratio(area, hits[-1] * others[-1]), average


def rank_classes(predictions: Predictions) -> list[RankedClass]:
    """Rank the images for each class; return nothing if a class has no images, because the means are then undefined."""
    labels, classes = predictions.labels, len(predictions.classes)
    if len(np.unique(labels)) < classes:
        return []
    return [_rank(predictions.probabilities[:, number], labels == number) for number in range(classes)]


def ranking_metrics(ranked: Sequence[RankedClass], weights: Floats) -> dict[str, Floats]:
    """Return the mean ROC-AUC and average precision over classes, S each, for weights N×S."""
    if not ranked:
        return {}
    areas, precisions = zip(*(each.areas(weights) for each in ranked), strict=True)
    return {"roc_auc": _mean(np.stack(areas)), "average_precision": _mean(np.stack(precisions))}


def _class_blocks(predictions: Predictions) -> list[tuple[Integers, Floats]]:
    """Return row and value, N each, of the correct, actual and predicted images."""
    labels, ones = predictions.labels, np.ones(len(predictions.labels))
    return [(labels, predictions.correct.astype(np.float64)), (labels, ones), (predictions.predicted, ones)]


def _gap_block(predictions: Predictions, bins: int) -> tuple[Integers, Floats]:
    probable = predictions.by_probability()
    return assign_bins(probable.confidence, bins), probable.correct - probable.confidence


def _rank(scores: Floats, positive: npt.NDArray[np.bool_]) -> RankedClass:
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    return RankedClass(order, positive[order], ends)


def _ratio(part: Floats, whole: Floats) -> Floats:
    """Divide; NaN where the denominator is 0."""
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)


def _mean(values: Floats) -> Floats:
    """Return the mean over the rows of K×S that are not NaN."""
    known = ~np.isnan(values)
    return _ratio(np.where(known, values, 0).sum(axis=0), known.sum(axis=0))


def _matthews(correct: Floats, actual: Floats, predicted: Floats) -> Floats:
    """Return Matthews' coefficient, 0 if undefined.

    Gorodkin, J. (2004), Comparing two K-category assignments by a K-category correlation coefficient.
    """
    images = actual.sum(axis=0)
    spread = (images**2 - (actual**2).sum(axis=0)) * (images**2 - (predicted**2).sum(axis=0))
    agreement = correct * images - (actual * predicted).sum(axis=0)
    coefficient: Floats = np.divide(agreement, np.sqrt(spread), out=np.zeros_like(images), where=spread > 0)
    return coefficient
