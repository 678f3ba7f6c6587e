"""Fit a probe: a linear classifier on the features of a frozen backbone."""

from dataclasses import dataclass

import torch
from torch import Tensor

from visiongate.images.pixels import Labels, Pixels
from visiongate.models.backbone import Backbone, load_backbone
from visiongate.models.embedding import Embedder
from visiongate.models.feature_cache import Features
from visiongate.models.feature_graph import feature_graph
from visiongate.models.probe import LinearHead, fit_head
from visiongate.records.transform import Transform
from visiongate.settings.model import Probe
from visiongate.settings.training import Training
from visiongate.training.trained_model import TrainedModel, describe_probe


@dataclass(frozen=True, slots=True)
class FittedProbe:
    """A fitted probe."""

    backbone: Backbone
    head: LinearHead
    transform: Transform

    def logits(self, features: Features) -> Tensor:
        """Return the logits, float32 N×K, of features, N×D."""
        return torch.from_numpy(self.head.logits(features))

    def describe(self, temperature: float) -> TrainedModel:
        """Return the model, ready to be written."""
        return describe_probe(self.backbone, self.head, self.transform, temperature)


class ProbeRecipe:
    """The features of a frozen backbone through the cache, and a linear classifier.

    Args:
        model: The backbone, and the classifier's regularization.
        training: The weights of the classes.
        transform: The preprocessing of the images.

    Raises:
        SettingsError: The backbone has no pretrained weights, or they cannot be read.
    """

    def __init__(self, model: Probe, training: Training, transform: Transform) -> None:
        self._model, self._training, self._transform = model, training, transform
        self._backbone = load_backbone(model, transform)
        self._embedder = Embedder(feature_graph(self._backbone.graph))

    def features(self, images: Pixels) -> Features:
        """Return the features of images, float32 N×D."""
        return self._embedder(images)

    def fit(self, features: Features, labels: Labels) -> FittedProbe:
        """Fit a classifier."""
        is_balanced = self._training.class_weights == "balanced"
        count = len(self._transform.classes)
        head = fit_head(features, labels, count, self._model.strength, is_balanced=is_balanced)
        return FittedProbe(self._backbone, head, self._transform)
