"""Fit a baseline: a scikit-learn classifier of pooled pixels."""

from dataclasses import dataclass

import torch
from torch import Tensor

from visiongate.images.pixels import Labels, Pixels
from visiongate.models.baseline_export import ServingBaseline, scores_to_logits
from visiongate.models.pixel_classifier import PixelClassifier
from visiongate.models.pixel_features import Features, Pooling
from visiongate.models.registry import build_baseline
from visiongate.records.transform import Transform
from visiongate.settings.model import Baseline
from visiongate.training.trained_model import TrainedModel, describe_baseline


@dataclass(frozen=True, slots=True)
class FittedBaseline:
    """A fitted baseline."""

    classifier: PixelClassifier
    pooling: Pooling
    name: str
    transform: Transform

    def logits(self, features: Features) -> Tensor:
        """Return the logits, float N×K, of pooled pixels."""
        scores = self.classifier.probabilities(features, len(self.transform.classes))
        return torch.from_numpy(scores_to_logits(scores))

    def describe(self, temperature: float) -> TrainedModel:
        """Return the model, ready to be written."""
        serving = ServingBaseline(self.classifier, self.pooling, len(self.transform.classes), temperature)
        return describe_baseline(self.name, serving, self.transform)


class BaselineRecipe:
    """Pooled pixels, and the classifier of ``model``.

    Args:
        model: Selects the classifier.
        transform: The preprocessing of the images.
        seed: Of the classifier's random numbers.

    Raises:
        SettingsError: As `build_baseline`.
    """

    def __init__(self, model: Baseline, transform: Transform, seed: int) -> None:
        self._model, self._transform, self._seed = model, transform, seed
        self._pooling = Pooling(transform.input_shape, self._build().side)

    def features(self, images: Pixels) -> Features:
        """Return the pooled pixels of images."""
        return self._pooling(images)

    def fit(self, features: Features, labels: Labels) -> FittedBaseline:
        """Fit a classifier."""
        classifier = self._build()
        classifier.fit(features, labels)
        return FittedBaseline(classifier, self._pooling, self._model.name, self._transform)

    def _build(self) -> PixelClassifier:
        return build_baseline(self._model.name, self._model.options, self._seed)
