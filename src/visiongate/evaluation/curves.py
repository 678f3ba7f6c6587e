"""The rows behind the plots: small tables that `dvc plots` draws and compares between revisions."""

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import roc_curve

from visiongate.evaluation.predictions import Predictions

ROC_POINTS = 100  # of each class


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


def confusion_rows(predictions: Predictions) -> list[ConfusionRow]:
    """List what each image is and what it was taken for, in the predictions' order."""
    names = predictions.classes
    return [
        ConfusionRow(names[label], names[guess])
        for label, guess in zip(predictions.labels, predictions.predicted, strict=True)
    ]


def roc_points(predictions: Predictions, most: int = ROC_POINTS) -> list[RocPoint]:
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
