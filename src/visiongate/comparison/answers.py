"""What a model answers to each image by its own decision rule."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from visiongate.errors import DataError
from visiongate.models.predictions import decide
from visiongate.models.predictor import Images, Predictor


@dataclass(frozen=True, slots=True)
class Answers:
    """A model's answers to N images of K classes."""

    probabilities: npt.NDArray[np.float64]  # N×K, each row scaled to sum to 1
    predicted: npt.NDArray[np.int64]  # N


def answer(model: Predictor, images: Images, threshold: float | None) -> Answers:
    """Ask a model about images, uint8 N×H×W×C.

    Args:
        model: Whom to ask.
        images: About what.
        threshold: As `decide` takes it.

    Raises:
        DataError: The outputs are no probabilities, or there is a threshold and there are not two classes.
    """
    probabilities = model.predict(images).astype(np.float64)
    sums = probabilities.sum(axis=1, keepdims=True)
    if not (np.isfinite(probabilities).all() and (probabilities >= 0).all() and (sums > 0).all()):
        raise DataError(f"{model.name}: its outputs are no probabilities")
    probabilities = probabilities / sums
    return Answers(probabilities, decide(probabilities, threshold))
