"""Fit a classifier in one step on features of the images, and measure it as an epoch of a network is measured."""

from dataclasses import asdict, dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from visiongate.errors import DataError
from visiongate.images.pixels import Labels, Pixels, PixelSplit
from visiongate.models.pixel_features import Features
from visiongate.records.history import EpochMetrics
from visiongate.training.calibration import fit_temperature
from visiongate.training.trained_model import TrainedModel
from visiongate.training.validation_metrics import measure_logits


class FittedClassifier(Protocol):
    """A fitted classifier of features."""

    def logits(self, features: Features) -> Tensor:
        """Return the logits, float N×K, of features, float32 N×F."""
        ...

    def describe(self, temperature: float) -> TrainedModel:
        """Return the model, ready to be written; the temperature divides its logits."""
        ...


class ClassifierRecipe(Protocol):
    """How to get features from images, and a classifier from features."""

    def features(self, images: Pixels) -> Features:
        """Return the features, float32 N×F, of uint8 images, N×H×W×C."""
        ...

    def fit(self, features: Features, labels: Labels) -> FittedClassifier:
        """Fit a classifier on features, float32 N×F, of at least two classes."""
        ...


@dataclass(frozen=True, slots=True)
class LabeledFeatures:
    """Features, float32 N×F, and labels, int64 N."""

    features: Features
    labels: Labels

    def take(self, rows: npt.NDArray[np.int64]) -> "LabeledFeatures":
        """Return some of the rows."""
        return LabeledFeatures(self.features[rows], self.labels[rows])


@dataclass(frozen=True, slots=True)
class OneStepResult:
    """A fitted classifier, its metrics before calibration, and its validation logits, N×K."""

    classifier: FittedClassifier
    epoch: EpochMetrics
    val_logits: Tensor
    # Fitted to the validation images; see `visiongate.training.calibration`.
    temperature: float


def fit_one_step(recipe: ClassifierRecipe, train: LabeledFeatures, val: LabeledFeatures) -> OneStepResult:
    """Fit a classifier on the training images and its temperature on the validation images.

    Raises:
        DataError: All training images have the same class.
    """
    check_labels(train.labels)
    classifier = recipe.fit(train.features, train.labels)
    trained = measure_logits(classifier.logits(train.features), torch.from_numpy(train.labels))
    val_logits, val_labels = classifier.logits(val.features), torch.from_numpy(val.labels)
    validated = asdict(measure_logits(val_logits, val_labels))
    epoch = EpochMetrics(
        epoch=1,
        lr=None,
        train_loss=trained.loss,
        train_accuracy=trained.accuracy,
        **{f"val_{name}": value for name, value in validated.items()},
    )
    return OneStepResult(classifier, epoch, val_logits, fit_temperature(val_logits, val_labels))


def read_features(recipe: ClassifierRecipe, split: PixelSplit) -> LabeledFeatures:
    """Return the features and the labels of a split."""
    return LabeledFeatures(recipe.features(split.images), split.labels)


def check_labels(labels: Labels) -> None:
    """Check that training images are of two classes.

    Raises:
        DataError: They are of one class.
    """
    if len(np.unique(labels)) < 2:  # noqa: PLR2004
        raise DataError(
            "train split: its images have a single class; a classifier needs two: add images, or raise "
            "transformation.split.train"
        )
