"""The predictions of two models for the same images, and the truth about the images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from visiongate.errors import DataError
from visiongate.models.embedding import run_cached
from visiongate.models.predictor import PROBABILITIES, Images, Predictor
from visiongate.models.probabilities import decide


@dataclass(frozen=True, slots=True)
class UnlabeledPredictions:
    """A model's predictions for N images of K classes.

    Attributes:
        probabilities: N×K; each row sums to 1.
        predicted: N, the predicted class.
    """

    probabilities: npt.NDArray[np.float64]
    predicted: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class GroundTruth:
    """The labels and groups of N images.

    Attributes:
        labels: N, in 0..K-1.
        groups: N; images of one group, such as those of one patient, are not independent. None is a group of one.
    """

    labels: npt.NDArray[np.int64]
    groups: Sequence[str | None]


def predict_images(model: Predictor, images: Images, threshold: float | None) -> UnlabeledPredictions:
    """Predict images, uint8 N×H×W×C, with a threshold as in `decide`.

    Raises:
        DataError: The outputs are not probabilities, or a threshold is given and there are not two classes.
    """
    probabilities = run_cached(model, images, [PROBABILITIES])[PROBABILITIES].astype(np.float64)
    sums = probabilities.sum(axis=1, keepdims=True)
    if not (np.isfinite(probabilities).all() and (probabilities >= 0).all() and (sums > 0).all()):
        raise DataError(f"{model.name}: its outputs are not probabilities")
    probabilities /= sums
    return UnlabeledPredictions(probabilities, decide(probabilities, threshold))
