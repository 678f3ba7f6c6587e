"""ROC-AUC and average precision of weighted images, for many weightings at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from visiongate.models.predictions import Predictions

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RankedClass:
    """The images by their score for one class, the highest first."""

    order: npt.NDArray[np.int64]  # N
    mine: npt.NDArray[np.bool_]  # N, in that order: of the class
    ends: npt.NDArray[np.int64]  # places of the last of each run of equal scores

    def areas(self, weights: Floats) -> tuple[Floats, Floats]:
        """Return ROC-AUC and average precision, S each; NaN where one side has no weight.

        The area under the ROC curve is that of trapezoids; average precision is the sum over thresholds of the gain in recall
        times the precision, as scikit-learn has it.

        Args:
            weights: N×S, in the images' own order.
        """
        ordered = weights[self.order]
        everything = np.cumsum(ordered, axis=0)[self.ends]
        hits = np.cumsum(np.where(self.mine[:, None], ordered, 0), axis=0)[self.ends]
        others = everything - hits
        gained = np.diff(hits, axis=0, prepend=0)
        middle = hits - gained / 2
        area = (np.diff(others, axis=0, prepend=0) * middle).sum(axis=0)
        precision = np.divide(hits, everything, out=np.zeros_like(hits), where=everything > 0)
        return (
            _share(area, hits[-1] * others[-1]),
            _share((gained * precision).sum(axis=0), hits[-1] * (others[-1] > 0)),
        )


def rank_classes(predictions: Predictions) -> Sequence[RankedClass]:
    """Rank the images for each class; nothing where a class has no image, for the macro averages are undefined then."""
    labels, classes = predictions.labels, len(predictions.classes)
    if len(np.unique(labels)) < classes:
        return []
    return [_rank(predictions.probabilities[:, number], labels == number) for number in range(classes)]


def _rank(scores: Floats, mine: npt.NDArray[np.bool_]) -> RankedClass:
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    return RankedClass(order, mine[order], ends)


def _share(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)
