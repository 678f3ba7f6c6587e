"""What a model must at least beat: the most frequent class, and what weighing each pixel by itself can tell."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from visiongate.images.pixels import PixelSplit
from visiongate.models.baselines import logistic_regression
from visiongate.models.pixel_features import Pooling

MOST_IMAGES = 10_000  # that the linear baseline learns from: more take minutes, and make it hardly better

Correct = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class References:
    """Whether each baseline is right on each of the N test images."""

    majority: Correct
    linear: Correct


def judge_references(train: PixelSplit, test: PixelSplit, seed: int) -> References:
    """Fit both baselines on the training split, and hold them against the test split.

    The linear baseline is the recipe of ``model=logistic_regression``, on at most `MOST_IMAGES` images, drawn evenly over the
    split. Where the training split has one class, it is the majority.

    Args:
        train: What they learn from.
        test: What they are judged on.
        seed: Of scikit-learn's solver, which draws nothing.
    """
    majority = np.bincount(train.labels).argmax() == test.labels
    if len(np.unique(train.labels)) < 2:  # noqa: PLR2004 - to tell apart takes two
        return References(majority, majority)
    kept = np.unique(np.linspace(0, len(train.labels) - 1, MOST_IMAGES).round().astype(np.int64))
    classifier = logistic_regression.build(seed)
    pooling = Pooling(test.images.shape[1:], classifier.side)
    classifier.fit(pooling(train.images[kept]), train.labels[kept])
    classes = int(train.labels.max()) + 1
    predicted = classifier.probabilities(pooling(test.images), classes).argmax(axis=1)
    return References(majority, predicted == test.labels)
