"""Where to draw the line between two classes: chosen on the validation split, for the test split must not choose for itself."""

import numpy as np
import numpy.typing as npt

from visiongate.errors import SettingsError
from visiongate.models.predictions import Predictions
from visiongate.settings.evaluation import Evaluation

Scores = npt.NDArray[np.float64]


def positive_class(classes: tuple[str, ...], settings: Evaluation) -> int | None:
    """Return the number of the class that sensitivity is of, the last unless one is named; None unless there are two classes.

    Raises:
        SettingsError: The class that is named does not exist, or a threshold is asked for where there are not two classes.
    """
    if len(classes) != 2:  # noqa: PLR2004
        if settings.threshold != "argmax":
            raise SettingsError(
                f"evaluation.threshold = {settings.threshold!r}: a threshold is between two classes, and there are "
                f"{len(classes)}: set it to argmax"
            )
        return None
    if settings.positive is None:
        return len(classes) - 1
    if settings.positive not in classes:
        raise SettingsError(
            f"evaluation.positive = {settings.positive!r}: the classes are {', '.join(classes)}"
        )
    return classes.index(settings.positive)


def choose_threshold(validation: Predictions, settings: Evaluation) -> float | None:
    """Choose as `evaluation.threshold` asks: by Youden's index, by a floor on the positive class's recall, or not at all.

    A threshold lies half-way between two scores, so that no image lies on it.

    Youden, W. J. (1950), Index for rating diagnostic tests, Cancer 3, 32-35.

    Args:
        validation: Of the validation split, by the most probable class.
        settings: The rule.

    Returns:
        The probability of the second class from which it is answered, whichever is the positive one; None where the more
        probable is.

    Raises:
        SettingsError: As `positive_class`, or the validation split lacks one of the two classes.
    """
    positive = positive_class(validation.classes, settings)
    if positive is None or settings.threshold == "argmax":
        return None
    actual = validation.labels == positive
    if actual.all() or not actual.any():
        raise SettingsError(
            f"evaluation.threshold = {settings.threshold!r}: the validation split has images of one class alone; "
            "set it to argmax, or raise transformation.split.val"
        )
    thresholds, sensitivity, specificity = _sweep(validation.probabilities[:, 1], validation.labels == 1)
    if positive == 0:
        sensitivity, specificity = specificity, sensitivity
    if settings.threshold == "youden":
        return float(thresholds[(sensitivity + specificity).argmax()])
    # Of the thresholds that meet the floor, the one that takes the fewest of the others for positive, and finds the most then.
    (meeting,) = np.nonzero(sensitivity >= settings.recall_floor)
    best = np.lexsort((sensitivity[meeting], specificity[meeting]))[-1]
    return float(thresholds[meeting[best]])


def _sweep(scores: Scores, second: npt.NDArray[np.bool_]) -> tuple[Scores, Scores, Scores]:
    """Return all thresholds that tell apart what can be, ascending, and the recall of the second and the first class at each.

    Args:
        scores: N, the probability of the second class.
        second: N, whether an image is of it.
    """
    levels = np.unique(scores)
    thresholds = np.concatenate([[0.0], (levels[1:] + levels[:-1]) / 2, [np.nextafter(1.0, 2.0)]])
    above = second.sum() - np.searchsorted(np.sort(scores[second]), thresholds)
    below = np.searchsorted(np.sort(scores[~second]), thresholds)
    return thresholds, above / second.sum(), below / (~second).sum()
