"""What the baselines have in common: a classifier of scikit-learn over pooled pixels."""

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
    """The part of an ONNX graph from `FEATURES`, float32 N×F, to `SCORES`: probabilities, float32 N×K."""

    nodes: Sequence[NodeProto]
    initializers: Sequence[TensorProto]


@dataclass(frozen=True, slots=True)
class Importances:
    """How much each feature weighs, in one panel or one for each class."""

    panels: npt.NDArray[np.float64]  # P×F, not negative
    classes: list[int] | None  # whose the panels are; None where one panel is for all
    measure: str  # in words


class PixelClassifier(ABC):
    """A classifier that is not fitted yet, and how finely it sees.

    Args:
        estimator: Of scikit-learn.
        side: Pixels a side at most; see `visiongate.models.pixel_features`.
    """

    def __init__(self, estimator: Any, side: int) -> None:  # noqa: ANN401 - scikit-learn has no types
        self.estimator = estimator
        self.side = side

    def fit(self, features: Features, labels: Labels) -> None:
        """Learn from features, float32 N×F, of at least two classes."""
        self.estimator.fit(features, labels)

    def probabilities(self, features: Features, classes: int) -> Probabilities:
        """Return the probabilities, N×K; a class that was never seen has none."""
        scores = np.zeros((len(features), classes))
        scores[:, self.seen] = self.estimator.predict_proba(features)
        return scores

    @property
    def seen(self) -> npt.NDArray[np.int64]:
        """The classes that were trained on, in the order of the estimator's outputs."""
        seen: npt.NDArray[np.int64] = self.estimator.classes_.astype(np.int64)
        return seen

    @abstractmethod
    def tensors(self) -> Arrays:
        """Return all that was learned, by name."""

    @abstractmethod
    def fragment(self, classes: int) -> Fragment:
        """Return the classifier as ONNX, with a column for each of so many classes, seen or not."""

    @abstractmethod
    def importances(self) -> Importances:
        """Return how much each feature weighs."""
