"""The metrics of an epoch on the validation split."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from visiongate.errors import SettingsError
from visiongate.settings.fields import Monitor

TOP = 3
# Top-3 accuracy says little with fewer classes.
MIN_TOP_CLASSES = 6


@dataclass(frozen=True, slots=True)
class ValidationMetrics:
    """Metrics of a split. Precision, recall, F1 and ROC-AUC are means over the classes that have images.

    ``roc_auc`` (one class against the rest) is None for a single class, ``top3`` for fewer than `MIN_TOP_CLASSES` classes.
    """

    # Mean cross-entropy per image.
    loss: float
    accuracy: float
    precision: float
    recall: float
    f1: float
    roc_auc: float | None
    top3: float | None


def check_metric(setting: str, metric: Monitor, classes: int, labels: Tensor) -> None:
    """Check that a metric is defined for a validation split.

    Args:
        setting: Its dotted name, for the message.
        metric: Its value.
        classes: Of the data set.
        labels: Of the validation images, int64 N.

    Raises:
        SettingsError: It is not.
    """
    if metric == "val_top3" and classes < MIN_TOP_CLASSES:
        raise SettingsError(
            f"params.yaml: {setting} = val_top3 needs {MIN_TOP_CLASSES} classes, and there are {classes}; set val_accuracy"
        )
    if metric == "val_roc_auc" and len(labels.unique()) == 1:
        raise SettingsError(
            f"params.yaml: {setting} = val_roc_auc needs validation images of two classes; raise transformation.split.val, or "
            "set val_loss"
        )


def measure_logits(logits: Tensor, labels: Tensor) -> ValidationMetrics:
    """Return the metrics of logits, float32 N×K, and labels, int64 N."""
    loss = functional.cross_entropy(logits, labels).item()
    logits, labels = logits.cpu(), labels.cpu()
    predicted = logits.argmax(dim=1)
    precision, recall, f1 = _class_means(predicted, labels, logits.shape[1])
    return ValidationMetrics(
        loss=loss,
        accuracy=(predicted == labels).double().mean().item(),
        precision=precision,
        recall=recall,
        f1=f1,
        roc_auc=_roc_auc(logits, labels),
        top3=_top_accuracy(logits, labels) if logits.shape[1] >= MIN_TOP_CLASSES else None,
    )


def _class_means(predicted: Tensor, labels: Tensor, classes: int) -> tuple[float, float, float]:
    """Return macro precision, recall and F1."""
    pairs = torch.bincount(labels * classes + predicted, minlength=classes**2)
    confusion = pairs.view(classes, classes).double()
    hits, actual, called = confusion.diag(), confusion.sum(dim=1), confusion.sum(dim=0)
    shares = [
        hits / called.clamp(min=1),
        hits / actual.clamp(min=1),
        2 * hits / (actual + called).clamp(min=1),
    ]
    precision, recall, f1 = (float(share[actual > 0].mean()) for share in shares)
    return precision, recall, f1


def _roc_auc(logits: Tensor, labels: Tensor) -> float | None:
    """Return the mean ROC-AUC, computed from ranks (Hanley and McNeil, 1982)."""
    scores = torch.softmax(logits.double(), dim=1)
    areas = []
    for column in range(logits.shape[1]):
        inside = labels == column
        count = int(inside.sum())
        if 0 < count < len(inside):
            ranks = float(_rank(scores[:, column])[inside].sum())
            areas.append((ranks - count * (count + 1) / 2) / (count * (len(inside) - count)))
    return float(sum(areas) / len(areas)) if areas else None


def _rank(scores: Tensor) -> Tensor:
    """Return the rank of each score from 1, N; equal scores have the mean of theirs.

    As `scipy.stats.rankdata`, whose import takes half a second of a short training.
    """
    _, places, counts = scores.unique(return_inverse=True, return_counts=True)
    counts = counts.double()
    ranks: Tensor = (counts.cumsum(0) - (counts - 1) / 2)[places]
    return ranks


def _top_accuracy(logits: Tensor, labels: Tensor) -> float:
    return (logits.topk(TOP, dim=1).indices == labels[:, None]).any(dim=1).double().mean().item()
