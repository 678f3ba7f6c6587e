"""The operating point: the threshold between two classes, chosen on the validation split."""

import numpy as np
import numpy.typing as npt

from visiongate.errors import SettingsError
from visiongate.models.predictions import Predictions
from visiongate.settings.evaluation import Evaluation

Scores = npt.NDArray[np.float64]


def positive_class(classes: tuple[str, ...], settings: Evaluation) -> int | None:
    """Return the number of the positive class, by default the last; None unless there are two classes.

    Raises:
        SettingsError: The named class does not exist, or a threshold is set and there are not two classes.
    """
    if len(classes) != 2:  # noqa: PLR2004
        if settings.threshold != "argmax":
            raise SettingsError(
                f"evaluation.threshold = {settings.threshold!r} needs two classes, and there are {len(classes)}; "
                "set it to argmax"
            )
        return None
    if settings.positive is None:
        return 1
    if settings.positive not in classes:
        raise SettingsError(
            f"evaluation.positive = {settings.positive!r} is not a class; choose one of {', '.join(classes)}"
        )
    return classes.index(settings.positive)


def choose_threshold(validation: Predictions, settings: Evaluation) -> float | None:
    """Choose the threshold by the rule of `evaluation.threshold`.

    ``youden`` maximizes sensitivity plus specificity: Youden, W. J. (1950), Index for rating diagnostic tests, Cancer 3, 32-35.
    ``recall`` keeps the recall of the positive class at `evaluation.recall_floor` with the highest specificity. Thresholds are
    halfway between two scores, so that no image is exactly at one.

    Args:
        validation: Predictions for the validation split, without a threshold.
        settings: The rule.

    Returns:
        The probability of the second class from which it is predicted; None for ``argmax``.

    Raises:
        SettingsError: As `positive_class`, or the validation split lacks one of the classes.
    """
    positive = positive_class(validation.classes, settings)
    if positive is None or settings.threshold == "argmax":
        return None
    second = validation.labels == 1
    if second.all() or not second.any():
        raise SettingsError(
            f"evaluation.threshold = {settings.threshold!r}: the validation split has a single class; "
            "set it to argmax, or raise transformation.split.val"
        )
    thresholds, second_recall, first_recall = _sweep(validation.probabilities[:, 1], second)
    sensitivity, specificity = (second_recall, first_recall) if positive else (first_recall, second_recall)
    if settings.threshold == "youden":
        return float(thresholds[(sensitivity + specificity).argmax()])
    (allowed,) = np.nonzero(sensitivity >= settings.recall_floor)
    best = np.lexsort((sensitivity[allowed], specificity[allowed]))[-1]
    return float(thresholds[allowed[best]])


def _sweep(scores: Scores, second: npt.NDArray[np.bool_]) -> tuple[Scores, Scores, Scores]:
    """Return all distinct thresholds, ascending, and the recall of the second and of the first class at each.

    Args:
        scores: N, the probability of the second class.
        second: N, whether an image is of it.
    """
    levels = np.unique(scores)
    thresholds = np.concatenate([[0.0], (levels[1:] + levels[:-1]) / 2, [np.nextafter(1.0, 2.0)]])
    above = second.sum() - np.searchsorted(np.sort(scores[second]), thresholds)
    below = np.searchsorted(np.sort(scores[~second]), thresholds)
    return thresholds, above / second.sum(), below / (~second).sum()
