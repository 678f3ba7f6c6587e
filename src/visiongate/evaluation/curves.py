"""The rows behind the plots: small tables that `dvc plots` draws and compares between revisions."""

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import precision_recall_curve, roc_curve

from visiongate.models.predictions import Predictions

CURVE_POINTS = 100  # of each class
HISTOGRAM_BINS = 20


@dataclass(frozen=True, slots=True)
class ConfusionRow:
    """One image, by the names of its classes; the plot counts them."""

    actual: str
    predicted: str


@dataclass(frozen=True, slots=True)
class RocPoint:
    """The share of the rest and of the class itself that some threshold lets through."""

    name: str
    fpr: float
    tpr: float


@dataclass(frozen=True, slots=True)
class PrecisionRecallPoint:
    """The share of a class that some threshold finds, and the share of what it finds that is of the class."""

    name: str
    recall: float
    precision: float


@dataclass(frozen=True, slots=True)
class ConfidenceBin:
    """Test images whose confidence lies in one of equal parts of 0..1."""

    confidence: float  # the part's middle
    right: int
    wrong: int


def confusion_rows(predictions: Predictions) -> list[ConfusionRow]:
    """List what each image is and what it was taken for, in the predictions' order."""
    names = predictions.classes
    return [
        ConfusionRow(names[label], names[guess])
        for label, guess in zip(predictions.labels, predictions.predicted, strict=True)
    ]


def roc_points(predictions: Predictions, most: int = CURVE_POINTS) -> list[RocPoint]:
    """Draw each class's ROC curve against the rest, thinned to at most so many points, both ends kept.

    A class that has no image, or all of them, has no curve.
    """
    points = []
    for number, name in enumerate(predictions.classes):
        mine = predictions.labels == number
        if mine.any() and not mine.all():
            fpr, tpr, _ = roc_curve(mine, predictions.probabilities[:, number])
            kept = np.unique(np.linspace(0, len(fpr) - 1, most).round().astype(int))
            points += [RocPoint(name, float(fpr[index]), float(tpr[index])) for index in kept]
    return points


def precision_recall_points(predictions: Predictions, most: int = CURVE_POINTS) -> list[PrecisionRecallPoint]:
    """Draw each class's precision by recall against the rest, thinned as in `roc_points`.

    A class that has no image, or all of them, has no curve.
    """
    points = []
    for number, name in enumerate(predictions.classes):
        mine = predictions.labels == number
        if mine.any() and not mine.all():
            precision, recall, _ = precision_recall_curve(mine, predictions.probabilities[:, number])
            kept = np.unique(np.linspace(0, len(recall) - 1, most).round().astype(int))
            points += [PrecisionRecallPoint(name, float(recall[at]), float(precision[at])) for at in kept]
    return points


def confidence_bins(predictions: Predictions) -> list[ConfidenceBin]:
    """Count the images by confidence, the right ones and the wrong ones apart."""
    confidence, correct = predictions.confidence, predictions.correct
    right, edges = np.histogram(confidence[correct], HISTOGRAM_BINS, (0, 1))
    wrong, _ = np.histogram(confidence[~correct], HISTOGRAM_BINS, (0, 1))
    middles = ((edges[1:] + edges[:-1]) / 2).round(6)
    return [ConfidenceBin(*row) for row in zip(middles.tolist(), right.tolist(), wrong.tolist(), strict=True)]
