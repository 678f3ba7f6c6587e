"""The points of the plots: confusions, ROC and precision-recall curves, histograms of confidence."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from sklearn.metrics import precision_recall_curve, roc_curve

from visiongate.models.predictions import Predictions
from visiongate.records.evaluation import ConfidenceBin, ConfusionRow, PrecisionRecallPoint, RocPoint

# Per class.
MAX_POINTS = 100
HISTOGRAM_BINS = 20


def confusion_rows(predictions: Predictions) -> list[ConfusionRow]:
    """Return the actual and the predicted class of each image."""
    names = predictions.classes
    pairs = zip(predictions.labels, predictions.predicted, strict=True)
    return [ConfusionRow(names[label], names[predicted]) for label, predicted in pairs]


def roc_points(predictions: Predictions, max_points: int = MAX_POINTS) -> list[RocPoint]:
    """Return each class's ROC curve against the rest, thinned to ``max_points`` with both ends kept.

    A class without images, or with all of them, has no curve.
    """
    points = []
    for name, positive, scores in _one_against_rest(predictions):
        fpr, tpr, _ = roc_curve(positive, scores)
        points += [RocPoint(name, float(fpr[k]), float(tpr[k])) for k in _thin(len(fpr), max_points)]
    return points


def precision_recall_points(
    predictions: Predictions, max_points: int = MAX_POINTS
) -> list[PrecisionRecallPoint]:
    """Return each class's precision-recall curve against the rest, thinned as in `roc_points`."""
    points = []
    for name, positive, scores in _one_against_rest(predictions):
        precision, recall, _ = precision_recall_curve(positive, scores)
        points += [
            PrecisionRecallPoint(name, float(recall[k]), float(precision[k]))
            for k in _thin(len(recall), max_points)
        ]
    return points


def confidence_bins(predictions: Predictions) -> list[ConfidenceBin]:
    """Return how many correct and wrong predictions are in each bin of confidence."""
    confidence, correct = predictions.confidence, predictions.correct
    right, edges = np.histogram(confidence[correct], HISTOGRAM_BINS, (0, 1))
    wrong, _ = np.histogram(confidence[~correct], HISTOGRAM_BINS, (0, 1))
    middles = ((edges[1:] + edges[:-1]) / 2).round(6)
    return [ConfidenceBin(*row) for row in zip(middles.tolist(), right.tolist(), wrong.tolist(), strict=True)]


def _one_against_rest(
    predictions: Predictions,
) -> Iterator[tuple[str, npt.NDArray[np.bool_], npt.NDArray[np.float64]]]:
    for number, name in enumerate(predictions.classes):
        positive = predictions.labels == number
        if positive.any() and not positive.all():
            yield name, positive, predictions.probabilities[:, number]


def _thin(length: int, max_points: int) -> npt.NDArray[np.int64]:
    return np.unique(np.linspace(0, length - 1, max_points).round().astype(np.int64))
