"""Fit a baseline: one pass, with what a network's training leaves behind, so that all that follows is the same."""

from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

from visiongate.errors import DataError
from visiongate.images.pixels import Labels, PixelSplit, Transform
from visiongate.models.baseline_export import ServedBaseline, scores_to_logits
from visiongate.models.pixel_classifier import PixelClassifier
from visiongate.models.pixel_features import Features, Pooling
from visiongate.training.calibration import fit_temperature
from visiongate.training.loop import Epoch
from visiongate.training.validation_metrics import measure_logits


@dataclass(frozen=True, slots=True)
class FittedBaseline:
    """A fitted baseline, and what it is worth before calibration, as an epoch of a network is measured."""

    served: ServedBaseline
    epoch: Epoch


def fit_baseline(
    classifier: PixelClassifier, train: PixelSplit, val: PixelSplit, transform: Transform
) -> FittedBaseline:
    """Fit a classifier on the training split, and its temperature on the validation split.

    A class without training images is never predicted, as by a network that was shown none.

    Args:
        classifier: Changed in place.
        train: What it learns from, as it is: nothing is augmented.
        val: What it is calibrated and measured on.
        transform: Of both splits.

    Raises:
        DataError: The training images are all of one class.
    """
    _check_classes(train.labels, transform)
    pooling = Pooling(transform.input_shape, classifier.side)
    features, labels = pooling(train.images), torch.from_numpy(train.labels)
    classifier.fit(features, train.labels)
    classes, val_labels = len(transform.classes), torch.from_numpy(val.labels)
    learned = measure_logits(_logits(classifier, features, classes), labels)
    val_logits = _logits(classifier, pooling(val.images), classes)
    validated = {
        f"val_{name}": value for name, value in asdict(measure_logits(val_logits, val_labels)).items()
    }
    temperature = fit_temperature(val_logits, val_labels)
    return FittedBaseline(
        ServedBaseline(classifier, pooling, classes, temperature),
        Epoch(epoch=1, lr=None, train_loss=learned.loss, train_accuracy=learned.accuracy, **validated),
    )


def _check_classes(labels: Labels, transform: Transform) -> None:
    seen = np.unique(labels)
    if len(seen) < 2:  # noqa: PLR2004 - to tell apart takes two
        names = ", ".join(transform.classes[number] for number in seen) or "no class"
        raise DataError(
            f"train split: its images are all of {names}; a baseline needs images of two classes: add some, or raise "
            "transformation.split.train"
        )


def _logits(classifier: PixelClassifier, features: Features, classes: int) -> Tensor:
    return torch.from_numpy(scores_to_logits(classifier.probabilities(features, classes)))
