"""Fit a probe: a linear classifier on the features of a frozen backbone."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from visiongate.images.pixels import Labels, Pixels
from visiongate.models.backbone import Backbone, load_backbone
from visiongate.models.embedding import Embedder
from visiongate.models.feature_cache import Features
from visiongate.models.feature_graph import feature_graph
from visiongate.models.feature_pieces import fill_cache
from visiongate.models.probe import LinearHead, fit_head
from visiongate.records.splits import SPLITS
from visiongate.records.transform import Transform
from visiongate.settings.model import Probe
from visiongate.settings.schema import Settings
from visiongate.settings.training import Training
from visiongate.training.trained_model import TrainedModel, describe_probe


def compute_features(settings: Settings, transform: Transform, directory: Path) -> None:
    """Let a cluster compute the features of all images for a probe, so that later steps find them in the cache.

    Args:
        settings: The sections ``engine`` and ``model``. Without a cluster, or for another model, nothing happens.
        transform: The preprocessing of the images.
        directory: The folder of the pixel arrays.

    Raises:
        SettingsError: As `ProbeRecipe`.
        EngineError: The cluster cannot be used.
    """
    if isinstance(settings.model, Probe) and settings.engine.kind != "local":
        graph = feature_graph(load_backbone(settings.model, transform).graph)
        fill_cache(settings.engine, graph, [directory / f"{split}.npy" for split in SPLITS])


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
