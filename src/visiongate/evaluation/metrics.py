"""Metrics of a classifier, by scikit-learn.

A class without an image in the split has no recall. It is left out of every average and minimum over classes, and without it
ROC-AUC and average precision are undefined: such a metric is then missing rather than made up.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    classification_report,
    confusion_matrix,
    log_loss,
    matthews_corrcoef,
    precision_recall_fscore_support,
    roc_auc_score,
)

from visiongate.evaluation.calibration import expected_calibration_error
from visiongate.models.predictions import Predictions

TOP = 3
TOP_FROM = 6  # classes; with fewer, the first three say little


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
    roc_auc: float | None = None  # against the rest; None where it has no image, or all of them
    average_precision: float | None = None


def compute_metrics(predictions: Predictions, calibration_bins: int) -> dict[str, float]:
    """Compute what the predictions of one split tell.

    Balanced accuracy is the mean recall of the classes, and so equals ``recall_macro``. ROC-AUC and average precision are the
    macro averages of each class against the rest. Brier is the mean over images of the squared distance between the
    probabilities and the truth, 0 to 2: Brier, G. W. (1950), Verification of forecasts expressed in terms of probability.
    """
    labels, predicted = predictions.labels, predictions.predicted
    by_class = precision_recall_fscore_support(labels, predicted, labels=np.unique(labels), zero_division=0.0)
    precision, recall, f1, images = by_class
    metrics = {"accuracy": accuracy_score(labels, predicted), **_top(predictions)}
    metrics["balanced_accuracy"] = recall.mean()
    for name, values in (("precision", precision), ("recall", recall), ("f1", f1)):
        metrics[f"{name}_macro"] = values.mean()
        metrics[f"{name}_weighted"] = np.average(values, weights=images)
    metrics |= {"recall_min": recall.min(), "f1_min": f1.min(), "mcc": matthews_corrcoef(labels, predicted)}
    metrics |= _ranking(predictions)
    metrics["log_loss"] = log_loss(labels, predictions.probabilities, labels=range(len(predictions.classes)))
    metrics["brier"] = brier_by_image(predictions).mean()
    likeliest = predictions.by_probability()
    metrics["ece"] = expected_calibration_error(likeliest.confidence, likeliest.correct, calibration_bins)
    return {"images": len(labels), **{name: float(value) for name, value in metrics.items()}}


def judge_positive(predictions: Predictions, positive: int) -> dict[str, float]:
    """Judge the positive one of two classes; what is undefined is missing."""
    actual, called = predictions.labels == positive, predictions.predicted == positive
    hits = np.count_nonzero(actual & called)
    shares = {
        "sensitivity": (hits, actual.sum()),
        "specificity": (np.count_nonzero(~actual & ~called), (~actual).sum()),
        "precision_positive": (hits, called.sum()),
        "f1_positive": (2 * hits, actual.sum() + called.sum()),
    }
    return {name: float(part / whole) for name, (part, whole) in shares.items() if whole}


def judge_classes(predictions: Predictions) -> list[ClassResult]:
    """Judge each class by itself, in the order of the classes, and say where its errors went."""
    numbers = range(len(predictions.classes))
    matrix = count_confusions(predictions)
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
                **_areas(predictions, number),
            )
        )
    return results


def count_confusions(predictions: Predictions) -> npt.NDArray[np.int64]:
    """Count the images by actual (row) and predicted (column) class, K×K."""
    matrix: npt.NDArray[np.int64] = confusion_matrix(
        predictions.labels, predictions.predicted, labels=range(len(predictions.classes))
    )
    return matrix


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


def brier_by_image(predictions: Predictions) -> npt.NDArray[np.float64]:
    """Return each image's squared distance from the truth, N."""
    squares: npt.NDArray[np.float64] = np.square(
        predictions.probabilities - np.eye(len(predictions.classes))[predictions.labels]
    ).sum(axis=1)
    return squares


def loss_by_image(predictions: Predictions) -> npt.NDArray[np.float64]:
    """Return the negative logarithm of what each image's class was given, N, clipped where scikit-learn clips it."""
    likelihood = np.take_along_axis(predictions.probabilities, predictions.labels[:, None], axis=1)[:, 0]
    loss: npt.NDArray[np.float64] = -np.log(np.maximum(likelihood, np.finfo(np.float64).eps))
    return loss


def top_by_image(predictions: Predictions) -> npt.NDArray[np.bool_]:
    """Return whether each image's class is among the `TOP` most probable, N; of equals, the first count."""
    first = np.argsort(-predictions.probabilities, axis=1, kind="stable")[:, :TOP]
    among: npt.NDArray[np.bool_] = (first == predictions.labels[:, None]).any(axis=1)
    return among


def uncalibrated(predictions: Predictions, temperature: float) -> Predictions:
    """Undo the temperature that the model's logits were divided by, and return the most probable classes' predictions."""
    logits = temperature * np.log(np.maximum(predictions.probabilities, np.finfo(np.float32).tiny))
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return Predictions(shares / shares.sum(axis=1, keepdims=True), predictions.labels, predictions.classes)


def _areas(predictions: Predictions, number: int) -> dict[str, float]:
    mine, scores = predictions.labels == number, predictions.probabilities[:, number]
    if mine.all() or not mine.any():
        return {}
    return {
        "roc_auc": float(roc_auc_score(mine, scores)),
        "average_precision": float(average_precision_score(mine, scores)),
    }


def _top(predictions: Predictions) -> dict[str, float]:
    return {"top3": top_by_image(predictions).mean()} if len(predictions.classes) >= TOP_FROM else {}


def _ranking(predictions: Predictions) -> dict[str, float]:
    classes, labels = len(predictions.classes), predictions.labels
    if len(np.unique(labels)) < classes:
        return {}
    truth = np.eye(classes, dtype=np.int64)[labels]
    return {
        "roc_auc": float(roc_auc_score(truth, predictions.probabilities, average="macro")),
        "average_precision": float(
            average_precision_score(truth, predictions.probabilities, average="macro")
        ),
    }
