"""What an epoch is worth on the validation split, from its logits alone."""

from dataclasses import dataclass

import torch
from scipy.stats import rankdata
from torch import Tensor
from torch.nn import functional

TOP = 3
TOP_FROM = 6  # classes; with fewer, the first three say little


@dataclass(frozen=True, slots=True)
class ValidationMetrics:
    """Precision, recall, F1 and ROC-AUC are means over the classes that have images; None where they say nothing."""

    loss: float  # cross-entropy, mean by image
    accuracy: float
    precision: float
    recall: float
    f1: float
    roc_auc: float | None  # of each class against the rest; None where there is but one class
    top3: float | None  # None with five classes or fewer


def measure_logits(logits: Tensor, labels: Tensor) -> ValidationMetrics:
    """Measure a split's logits.

    Args:
        logits: float32, N×K.
        labels: int64, N.
    """
    loss = functional.cross_entropy(logits, labels).item()
    logits, labels = logits.cpu(), labels.cpu()
    predicted = logits.argmax(dim=1)
    precision, recall, f1 = _by_class(predicted, labels, logits.shape[1])
    return ValidationMetrics(
        loss=loss,
        accuracy=(predicted == labels).double().mean().item(),
        precision=precision,
        recall=recall,
        f1=f1,
        roc_auc=_roc_auc(logits, labels),
        top3=_top(logits, labels) if logits.shape[1] >= TOP_FROM else None,
    )


def _by_class(predicted: Tensor, labels: Tensor, classes: int) -> tuple[float, float, float]:
    pairs = torch.bincount(labels * classes + predicted, minlength=classes**2).view(classes, classes).double()
    hits, actual, called = pairs.diag(), pairs.sum(dim=1), pairs.sum(dim=0)
    shares = [
        hits / called.clamp(min=1),
        hits / actual.clamp(min=1),
        2 * hits / (actual + called).clamp(min=1),
    ]
    precision, recall, f1 = (float(share[actual > 0].mean()) for share in shares)
    return precision, recall, f1


def _roc_auc(logits: Tensor, labels: Tensor) -> float | None:
    """The chance that an image of a class scores higher than one of another, by ranks (Hanley and McNeil, 1982)."""
    scores = torch.softmax(logits.double(), dim=1).numpy()
    areas = []
    for column in range(logits.shape[1]):
        inside = (labels == column).numpy()
        count = int(inside.sum())
        if 0 < count < len(inside):
            ranks = rankdata(scores[:, column])[inside].sum()
            areas.append((ranks - count * (count + 1) / 2) / (count * (len(inside) - count)))
    return float(sum(areas) / len(areas)) if areas else None


def _top(logits: Tensor, labels: Tensor) -> float:
    return (logits.topk(TOP, dim=1).indices == labels[:, None]).any(dim=1).double().mean().item()
