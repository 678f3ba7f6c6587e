"""The classifier on embeddings that finds suspects and chooses what to label next."""

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from visiongate.correction.embeddings import Embeddings
from visiongate.images.pixels import Labels
from visiongate.models.probe import fit_head

Floats = npt.NDArray[np.float64]

# The inverse strength of the L2 penalty. Of 1,500 cats and dogs with 5% flipped labels, 0.001 and 0.003 find 98% or more among
# the first 7%, and 0.03 finds 95%, because a weak penalty fits the wrong labels.
STRENGTH = 0.003


def train_and_predict(
    train: Embeddings, labels: Labels, others: Embeddings, classes: int, *, is_balanced: bool = False
) -> Floats:
    """Train a logistic regression and return its probabilities, N×K, for other images.

    Args:
        train: Embeddings, float32 M×D.
        labels: M, of at least two classes.
        others: Embeddings, float32 N×D.
        classes: Number of classes, K.
        is_balanced: Whether each class has the same weight, however many images it has.
    """
    head = fit_head(train, labels, classes, STRENGTH, is_balanced=is_balanced)
    probabilities: Floats = softmax(head.logits(others).astype(np.float64), axis=1)
    return probabilities
