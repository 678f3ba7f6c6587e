"""From the outputs of a model to probabilities, and from probabilities to classes."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from visiongate.errors import DataError
from visiongate.images.pixels import Labels
from visiongate.models.predictor import Predictor, Probabilities

# Far above the rounding error of a softmax in float32, far below the error of a missing softmax.
SUM_TOLERANCE = 1e-3


def decide(probabilities: npt.NDArray[np.floating], threshold: float | None) -> Labels:
    """Return the predicted class, N, of probabilities, N×K.

    Args:
        probabilities: Of each image.
        threshold: With two classes, predict the second class if its probability reaches the threshold. None predicts the
            most probable class; of equally probable classes, the first.

    Raises:
        DataError: A threshold is given and there are not two classes.
    """
    if threshold is None:
        most_probable: Labels = probabilities.argmax(axis=1)
        return most_probable
    if probabilities.shape[1] != 2:  # noqa: PLR2004
        raise DataError(f"a threshold of {threshold:g} needs two classes, not {probabilities.shape[1]}")
    return (probabilities[:, 1] >= threshold).astype(np.int64)


def check_probabilities(
    model: Predictor, outputs: Probabilities, paths: Sequence[str]
) -> npt.NDArray[np.float64]:
    """Return the outputs of a model as probabilities, N×K, without the rounding error of a sum in float32.

    Args:
        model: The model.
        outputs: Its output `PROBABILITIES`.
        paths: Of the N images, for the error message.

    Raises:
        DataError: The outputs are not one row of probabilities per image.
    """
    probabilities = outputs.astype(np.float64)
    expected = (len(paths), len(model.contract.classes))
    if probabilities.shape != expected:
        raise DataError(f"{model.name}: its outputs have the shape {probabilities.shape}, not {expected}")
    checked: npt.NDArray[np.float64] = probabilities / _check_sums(model, probabilities, paths)
    return checked


def _check_sums(
    model: Predictor, probabilities: npt.NDArray[np.float64], paths: Sequence[str]
) -> npt.NDArray[np.float64]:
    """Return each row's sum, N×1, after checking that it is near 1."""
    sums: npt.NDArray[np.float64] = probabilities.sum(axis=1, keepdims=True)
    # The negated comparison is true for NaN too.
    wrong = ~(np.abs(sums[:, 0] - 1) <= SUM_TOLERANCE) | (probabilities < 0).any(axis=1)
    if wrong.any():
        first = int(wrong.argmax())
        raise DataError(
            f"{model.name}: its outputs for {int(wrong.sum())} of {len(wrong)} images are not probabilities; those for "
            f"{paths[first]} sum to {sums[first, 0]:g}"
        )
    return sums
