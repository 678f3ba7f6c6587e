"""Metrics of a classifier, by scikit-learn.

A class without an image in the split has no recall. It is left out of every average and minimum over classes, and without it
ROC-AUC is undefined: the metric is then missing rather than made up.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import (
    accuracy_score,
    classification_report,
    confusion_matrix,
    log_loss,
    precision_recall_fscore_support,
    roc_auc_score,
)

from visiongate.evaluation.calibration import expected_calibration_error
from visiongate.evaluation.predictions import Predictions

METRICS = (
    "images",
    "accuracy",
    "balanced_accuracy",
    "precision_macro",
    "precision_weighted",
    "recall_macro",
    "recall_weighted",
    "f1_macro",
    "f1_weighted",
    "recall_min",
    "f1_min",
    "roc_auc",
    "log_loss",
    "ece",
)


@dataclass(frozen=True, slots=True)
class ClassResult:
    """How one class fares; None where it has no image."""

    name: str
    images: int
    precision: float | None
    recall: float | None
    f1: float | None
    errors: int  # of its images
    confused_with: str | None  # the class most often predicted instead
    confused_images: int


def compute_metrics(predictions: Predictions, calibration_bins: int) -> dict[str, float]:
    """Compute `METRICS`, in that order.

    Balanced accuracy is the mean recall of the classes, and so equals ``recall_macro``. ROC-AUC is the macro average of each
    class against the rest; it is left out when a class has no image.
    """
    labels, predicted = predictions.labels, predictions.predicted
    by_class = precision_recall_fscore_support(labels, predicted, labels=np.unique(labels), zero_division=0.0)
    precision, recall, f1, images = by_class
    metrics = {"accuracy": accuracy_score(labels, predicted), "balanced_accuracy": recall.mean()}
    for name, values in (("precision", precision), ("recall", recall), ("f1", f1)):
        metrics[f"{name}_macro"] = values.mean()
        metrics[f"{name}_weighted"] = np.average(values, weights=images)
    metrics |= {"recall_min": recall.min(), "f1_min": f1.min()}
    if (roc_auc := _roc_auc(predictions)) is not None:
        metrics["roc_auc"] = roc_auc
    metrics["log_loss"] = log_loss(labels, predictions.probabilities, labels=range(len(predictions.classes)))
    metrics["ece"] = expected_calibration_error(predictions.confidence, predictions.correct, calibration_bins)
    return {"images": len(labels), **{name: float(value) for name, value in metrics.items()}}


def judge_classes(predictions: Predictions) -> list[ClassResult]:
    """Judge each class by itself, in the order of the classes, and say where its errors went."""
    numbers = range(len(predictions.classes))
    matrix = confusion_matrix(predictions.labels, predictions.predicted, labels=numbers)
    precision, recall, f1, images = precision_recall_fscore_support(
        predictions.labels, predictions.predicted, labels=numbers, zero_division=0.0
    )
    wrong = matrix - np.diag(matrix.diagonal())
    results = []
    for number, name in enumerate(predictions.classes):
        known = images[number] > 0
        confused = int(wrong[number].max())
        results.append(
            ClassResult(
                name=name,
                images=int(images[number]),
                precision=float(precision[number]) if known else None,
                recall=float(recall[number]) if known else None,
                f1=float(f1[number]) if known else None,
                errors=int(wrong[number].sum()),
                confused_with=predictions.classes[wrong[number].argmax()] if confused else None,
                confused_images=confused,
            )
        )
    return results


def report_text(predictions: Predictions) -> str:
    """Format scikit-learn's classification report, to four decimals."""
    report: str = classification_report(
        predictions.labels,
        predictions.predicted,
        labels=range(len(predictions.classes)),
        target_names=predictions.classes,
        digits=4,
        zero_division=0.0,
    )
    return report


def _roc_auc(predictions: Predictions) -> float | None:
    classes = len(predictions.classes)
    if len(np.unique(predictions.labels)) < classes:
        return None
    # Of two classes each is the other's rest, with the same area; scikit-learn then wants one column.
    scores = predictions.probabilities if classes > 2 else predictions.probabilities[:, 1]  # noqa: PLR2004
    return float(roc_auc_score(predictions.labels, scores, multi_class="ovr", average="macro"))
