"""The base class of the baselines: a scikit-learn classifier of pooled pixels."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, TensorProto

from visiongate.images.pixels import Labels
from visiongate.models.pixel_features import Features

Arrays = dict[str, npt.NDArray[Any]]
Probabilities = npt.NDArray[np.float64]
FEATURES, SCORES = "features", "scores"


@dataclass(frozen=True, slots=True)
class Fragment:
    """A part of an ONNX graph, from `FEATURES`, float32 N×F, to `SCORES`, probabilities as float32 N×K."""

    nodes: Sequence[NodeProto]
    initializers: Sequence[TensorProto]


@dataclass(frozen=True, slots=True)
class Importances:
    """The importance of each feature, in one panel or in one panel per class."""

    # P×F, non-negative.
    panels: npt.NDArray[np.float64]
    # The class of each panel; None if one panel covers all classes.
    classes: list[int] | None
    # The name of the importance measure.
    measure: str


class PixelClassifier(ABC):
    """A scikit-learn classifier and the resolution of its features.

    Args:
        estimator: An unfitted scikit-learn classifier.
        side: Maximum height and width of the pooled image; see `visiongate.models.pixel_features`.
    """

    def __init__(self, estimator: Any, side: int) -> None:  # noqa: ANN401 - scikit-learn has no types
        self.estimator = estimator
        self.side = side

    def fit(self, features: Features, labels: Labels) -> None:
        """Fit features, float32 N×F, of at least two classes."""
        self.estimator.fit(features, labels)

    def probabilities(self, features: Features, classes: int) -> Probabilities:
        """Return the probabilities, N×K; they are 0 for a class without training images."""
        scores = np.zeros((len(features), classes))
        scores[:, self.fitted_classes] = self.estimator.predict_proba(features)
        return scores

    @property
    def fitted_classes(self) -> npt.NDArray[np.int64]:
        """The classes with training images, in the order of the estimator's outputs."""
        classes: npt.NDArray[np.int64] = self.estimator.classes_.astype(np.int64)
        return classes

    @abstractmethod
    def tensors(self) -> Arrays:
        """Return all fitted values by name."""

    @abstractmethod
    def fragment(self, classes: int) -> Fragment:
        """Return the classifier as ONNX, with one output per class."""

    @abstractmethod
    def importances(self) -> Importances:
        """Return the importance of each feature."""
