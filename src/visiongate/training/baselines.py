"""Fit a baseline, and measure it as an epoch of a network is measured."""

from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

from visiongate.errors import DataError
from visiongate.images.pixels import Labels, PixelSplit
from visiongate.models.baseline_export import ServingBaseline, scores_to_logits
from visiongate.models.pixel_classifier import PixelClassifier
from visiongate.models.pixel_features import Features, Pooling
from visiongate.records.history import EpochMetrics
from visiongate.records.transform import Transform
from visiongate.training.calibration import fit_temperature
from visiongate.training.validation_metrics import measure_logits


@dataclass(frozen=True, slots=True)
class BaselineResult:
    """A fitted baseline, its metrics before calibration, and its validation logits, N×K."""

    baseline: ServingBaseline
    epoch: EpochMetrics
    val_logits: Tensor


def fit_baseline(
    classifier: PixelClassifier, train: PixelSplit, val: PixelSplit, transform: Transform
) -> BaselineResult:
    """Fit a classifier on the training split and its temperature on the validation split.

    Args:
        classifier: Fitted in place.
        train: The training split; it is not augmented.
        val: The validation split.
        transform: The preprocessing of both splits.

    Raises:
        DataError: All training images have the same class.
    """
    _check_classes(train.labels, transform)
    pooling = Pooling(transform.input_shape, classifier.side)
    classes, val_labels = len(transform.classes), torch.from_numpy(val.labels)
    features = pooling(train.images)
    classifier.fit(features, train.labels)
    trained = measure_logits(_logits(classifier, features, classes), torch.from_numpy(train.labels))
    val_logits = _logits(classifier, pooling(val.images), classes)
    validated = asdict(measure_logits(val_logits, val_labels))
    epoch = EpochMetrics(
        epoch=1,
        lr=None,
        train_loss=trained.loss,
        train_accuracy=trained.accuracy,
        **{f"val_{name}": value for name, value in validated.items()},
    )
    temperature = fit_temperature(val_logits, val_labels)
    return BaselineResult(ServingBaseline(classifier, pooling, classes, temperature), epoch, val_logits)


def fit_calibrated_baseline(
    classifier: PixelClassifier, images: PixelSplit, transform: Transform, temperature: float
) -> ServingBaseline:
    """Fit a classifier on images whose temperature is known from other images.

    Args:
        classifier: Fitted in place.
        images: All training images.
        transform: The preprocessing of the images.
        temperature: Divides the logits.

    Raises:
        DataError: All images have the same class.
    """
    _check_classes(images.labels, transform)
    pooling = Pooling(transform.input_shape, classifier.side)
    classifier.fit(pooling(images.images), images.labels)
    return ServingBaseline(classifier, pooling, len(transform.classes), temperature)


def _check_classes(labels: Labels, transform: Transform) -> None:
    present = np.unique(labels)
    if len(present) < 2:  # noqa: PLR2004
        names = ", ".join(transform.classes[number] for number in present) or "no class"
        raise DataError(
            f"train split: its images have a single class ({names}); a baseline needs two: add images, or raise "
            "transformation.split.train"
        )


def _logits(classifier: PixelClassifier, features: Features, classes: int) -> Tensor:
    return torch.from_numpy(scores_to_logits(classifier.probabilities(features, classes)))
