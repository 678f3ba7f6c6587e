"""The baselines that a model must beat: the most frequent class, and a logistic regression on the pixels."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from visiongate.images.pixels import PixelSplit
from visiongate.models.baselines import logistic_regression
from visiongate.models.pixel_features import Pooling

# More images take minutes to fit and hardly improve the logistic regression.
MAX_TRAIN_IMAGES = 10_000

Correct = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class BaselineResults:
    """Whether each baseline is correct on each test image, N."""

    majority: Correct
    linear: Correct


def evaluate_baselines(train: PixelSplit, test: PixelSplit, seed: int) -> BaselineResults:
    """Fit both baselines on the training split and evaluate them on the test split.

    The linear baseline is that of ``model=logistic_regression``, fitted on at most `MAX_TRAIN_IMAGES` evenly spaced images. If
    the training split has a single class, it equals the majority baseline.

    Args:
        train: The training split.
        test: The test split.
        seed: Of the solver.
    """
    majority = np.bincount(train.labels).argmax() == test.labels
    if len(np.unique(train.labels)) == 1:
        return BaselineResults(majority, majority)
    kept = np.unique(np.linspace(0, len(train.labels) - 1, MAX_TRAIN_IMAGES).round().astype(np.int64))
    classifier = logistic_regression.build(seed)
    pooling = Pooling(test.images.shape[1:], classifier.side)
    classifier.fit(pooling(train.images[kept]), train.labels[kept])
    classes = int(train.labels.max()) + 1
    predicted = classifier.probabilities(pooling(test.images), classes).argmax(axis=1)
    return BaselineResults(majority, predicted == test.labels)
