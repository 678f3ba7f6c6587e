"""Metrics of a classifier, by scikit-learn.

A class without test images has no recall. Averages and minima over classes leave it out. ROC-AUC and average precision are then
undefined: an undefined metric is missing from the result.
"""

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
from visiongate.records.evaluation import ClassMetrics

TOP = 3
# With fewer classes, the top three are nearly all of them.
MIN_TOP_CLASSES = 6


def compute_metrics(predictions: Predictions, calibration_bins: int) -> dict[str, float]:
    """Return the metrics of one split by name.

    Balanced accuracy is the mean recall of the classes. ROC-AUC and average precision are means over each class against the
    rest. The Brier score is the mean squared distance between probabilities and truth, 0 to 2: Brier, G. W. (1950),
    Verification of forecasts expressed in terms of probability.
    """
    labels, predicted = predictions.labels, predictions.predicted
    precision, recall, f1, images = precision_recall_fscore_support(
        labels, predicted, labels=np.unique(labels), zero_division=0.0
    )
    metrics = {"accuracy": accuracy_score(labels, predicted)}
    if len(predictions.classes) >= MIN_TOP_CLASSES:
        metrics["top3"] = top3_by_image(predictions).mean()
    metrics["balanced_accuracy"] = recall.mean()
    for name, values in (("precision", precision), ("recall", recall), ("f1", f1)):
        metrics[f"{name}_macro"] = values.mean()
        metrics[f"{name}_weighted"] = np.average(values, weights=images)
    metrics |= {"recall_min": recall.min(), "f1_min": f1.min(), "mcc": matthews_corrcoef(labels, predicted)}
    metrics |= _ranking_metrics(predictions)
    metrics["log_loss"] = log_loss(labels, predictions.probabilities, labels=range(len(predictions.classes)))
    metrics["brier"] = brier_by_image(predictions).mean()
    probable = predictions.by_probability()
    metrics["ece"] = expected_calibration_error(probable.confidence, probable.correct, calibration_bins)
    return {"images": len(labels), **{name: float(value) for name, value in metrics.items()}}


def compute_positive_metrics(predictions: Predictions, positive: int) -> dict[str, float]:
    """Return the defined metrics of the positive class of two."""
    actual, predicted = predictions.labels == positive, predictions.predicted == positive
    hits = np.count_nonzero(actual & predicted)
    shares = {
        "sensitivity": (hits, actual.sum()),
        "specificity": (np.count_nonzero(~actual & ~predicted), (~actual).sum()),
        "precision_positive": (hits, predicted.sum()),
        "f1_positive": (2 * hits, actual.sum() + predicted.sum()),
    }
    return {name: float(part / whole) for name, (part, whole) in shares.items() if whole}


def compute_class_metrics(predictions: Predictions) -> list[ClassMetrics]:
    """Return the metrics of each class, in the order of the classes."""
    numbers = range(len(predictions.classes))
    precision, recall, f1, images = precision_recall_fscore_support(
        predictions.labels, predictions.predicted, labels=numbers, zero_division=0.0
    )
    errors = count_confusions(predictions)
    np.fill_diagonal(errors, 0)
    results = []
    for number, name in enumerate(predictions.classes):
        known, confused = bool(images[number]), int(errors[number].max())
        roc_auc, average_precision = _areas(predictions, number)
        results.append(
            ClassMetrics(
                name=name,
                images=int(images[number]),
                precision=float(precision[number]) if known else None,
                recall=float(recall[number]) if known else None,
                f1=float(f1[number]) if known else None,
                errors=int(errors[number].sum()),
                confused_with=predictions.classes[errors[number].argmax()] if confused else None,
                confused_images=confused,
                roc_auc=roc_auc,
                average_precision=average_precision,
            )
        )
    return results


def count_confusions(predictions: Predictions) -> npt.NDArray[np.int64]:
    """Return the confusion matrix, K×K: images by actual (row) and predicted (column) class."""
    matrix: npt.NDArray[np.int64] = confusion_matrix(
        predictions.labels, predictions.predicted, labels=range(len(predictions.classes))
    )
    return matrix


def format_report(predictions: Predictions) -> str:
    """Return scikit-learn's classification report, with four decimals."""
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
    """Return each image's squared distance between probabilities and truth, N."""
    truth = np.eye(len(predictions.classes))[predictions.labels]
    squares: npt.NDArray[np.float64] = np.square(predictions.probabilities - truth).sum(axis=1)
    return squares


def loss_by_image(predictions: Predictions) -> npt.NDArray[np.float64]:
    """Return each image's negative log-likelihood, N, clipped as scikit-learn does."""
    loss: npt.NDArray[np.float64] = -np.log(
        np.maximum(predictions.label_probability, np.finfo(np.float64).eps)
    )
    return loss


def top3_by_image(predictions: Predictions) -> npt.NDArray[np.bool_]:
    """Return whether each image's class is among the three most probable, N; of ties, the first classes count."""
    first = np.argsort(-predictions.probabilities, axis=1, kind="stable")[:, :TOP]
    among: npt.NDArray[np.bool_] = (first == predictions.labels[:, None]).any(axis=1)
    return among


def undo_temperature(predictions: Predictions, temperature: float) -> Predictions:
    """Return the predictions before the model's logits were divided by the temperature, without a threshold."""
    logits = temperature * np.log(np.maximum(predictions.probabilities, np.finfo(np.float32).tiny))
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return Predictions(shares / shares.sum(axis=1, keepdims=True), predictions.labels, predictions.classes)


def _areas(predictions: Predictions, number: int) -> tuple[float | None, float | None]:
    """Return ROC-AUC and average precision of a class against the rest."""
    positive, scores = predictions.labels == number, predictions.probabilities[:, number]
    if positive.all() or not positive.any():
        return None, None
    return float(roc_auc_score(positive, scores)), float(average_precision_score(positive, scores))


def _ranking_metrics(predictions: Predictions) -> dict[str, float]:
    classes, labels = len(predictions.classes), predictions.labels
    if len(np.unique(labels)) < classes:
        return {}
    truth = np.eye(classes, dtype=np.int64)[labels]
    return {
        "roc_auc": roc_auc_score(truth, predictions.probabilities, average="macro"),
        "average_precision": average_precision_score(truth, predictions.probabilities, average="macro"),
    }
