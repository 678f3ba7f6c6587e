"""Metrics of two models on many resamplings of the same images at once.

A sum over the drawn images is enough for each metric here. So what a unit (an image, or a group of images) adds is a column of
a sparse matrix, a resampling is a weight of each unit, and all resamplings together are a product of two matrices.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array, vstack

from visiongate.comparison.answers import Answers

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
LOWER_IS_BETTER = frozenset({"log_loss"})


@dataclass(frozen=True, slots=True)
class PairedMetric:
    """What each unit adds to the sums of either model, and the metric of such sums."""

    challenger: csr_array  # sums × units
    champion: csr_array  # the same rows
    statistic: Callable[[Floats], Floats]  # from sums × samples to samples


def pair_up(
    metric: str, challenger: Answers, champion: Answers, labels: Integers, unit: Integers
) -> PairedMetric:
    """Prepare a metric of two models.

    Args:
        metric: ``accuracy``, ``balanced_accuracy``, ``f1_macro``, ``log_loss`` or ``roc_auc``, as scikit-learn defines them; a
            class without an image is left out of the averages.
        challenger: Its answers to N images.
        champion: Its answers to the same images.
        labels: N, in 0..K-1.
        unit: N, the number of the unit that each image belongs to.
    """
    if metric == "roc_auc":
        return _pair_rankings(challenger, champion, labels, unit)
    classes = challenger.probabilities.shape[1]
    return PairedMetric(
        _tally(challenger, labels, unit),
        _tally(champion, labels, unit),
        lambda sums: _STATISTICS[metric](_Sums(sums, classes)),
    )


class _Sums:
    """The parts of a table of sums."""

    def __init__(self, sums: Floats, classes: int) -> None:
        self.right, self.there, self.predicted = sums[: 3 * classes].reshape(3, classes, -1)
        self.loss = sums[-1]


def _tally(answers: Answers, labels: Integers, unit: Integers) -> csr_array:
    """For each unit, a column: images of each class that are right, are there, are predicted; and the log loss."""
    classes = answers.probabilities.shape[1]
    likelihood = np.take_along_axis(answers.probabilities, labels[:, None], axis=1)[:, 0]
    loss = -np.log(np.clip(likelihood, np.finfo(np.float64).eps, 1))  # where scikit-learn clips too
    one = np.ones(len(labels))
    values = np.concatenate((answers.predicted == labels, one, one, loss))
    last = np.full(len(labels), 3 * classes)
    rows = np.concatenate((labels, labels + classes, answers.predicted + 2 * classes, last))
    return csr_array((values, (rows, np.tile(unit, 4))), shape=(3 * classes + 1, unit.max() + 1))


def _accuracy(sums: _Sums) -> Floats:
    accuracy: Floats = sums.right.sum(axis=0) / sums.there.sum(axis=0)
    return accuracy


def _balanced_accuracy(sums: _Sums) -> Floats:
    return _mean_where_there(sums.right, sums.there, sums.there)


def _f1_macro(sums: _Sums) -> Floats:
    return _mean_where_there(2 * sums.right, sums.there + sums.predicted, sums.there)


def _log_loss(sums: _Sums) -> Floats:
    loss: Floats = sums.loss / sums.there.sum(axis=0)
    return loss


_STATISTICS: dict[str, Callable[[_Sums], Floats]] = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "f1_macro": _f1_macro,
    "log_loss": _log_loss,
}


def _mean_where_there(above: Floats, below: Floats, there: Floats) -> Floats:
    """Average a ratio over the classes that have images."""
    ratio = np.divide(above, below, out=np.zeros_like(above), where=there > 0)
    mean: Floats = ratio.sum(axis=0) / (there > 0).sum(axis=0)
    return mean


def _pair_rankings(challenger: Answers, champion: Answers, labels: Integers, unit: Integers) -> PairedMetric:
    """Rank the scores of both models together, so that a resampling may exchange them."""
    classes = challenger.probabilities.shape[1]
    # Of two classes each is the other's rest, with the same area.
    asked = range(classes) if classes > 2 else (1,)  # noqa: PLR2004
    pairs = [
        _rank(challenger.probabilities[:, number], champion.probabilities[:, number], labels == number, unit)
        for number in asked
    ]
    mine, theirs = (csr_array(vstack(tables)) for tables in zip(*pairs, strict=True))
    heights = [table.shape[0] for table, _ in pairs]
    return PairedMetric(mine, theirs, lambda sums: _mean_area(sums, heights))


def _rank(mine: Floats, theirs: Floats, own: npt.NDArray[np.bool_], unit: Integers) -> list[csr_array]:
    """For each model and unit, a column: how many images of the class have each score, and how many of the rest."""
    levels, place = np.unique(np.concatenate((mine, theirs)), return_inverse=True)
    rest = np.where(own, 0, len(levels))
    shape, one = (2 * len(levels), unit.max() + 1), np.ones(len(unit))
    return [csr_array((one, (places + rest, unit)), shape=shape) for places in np.split(place, 2)]


def _mean_area(sums: Floats, heights: list[int]) -> Floats:
    """Average, over the classes, the chance that an image of the class is scored above one of the rest; ties count half."""
    areas = []
    for part in np.split(sums, np.cumsum(heights)[:-1]):
        own, rest = part.reshape(2, -1, part.shape[1])
        pairs = own.sum(axis=0) * rest.sum(axis=0)
        won = (own * (rest.cumsum(axis=0) - rest / 2)).sum(axis=0)
        areas.append(np.divide(won, pairs, out=np.full_like(won, np.nan), where=pairs > 0))
    known = np.isfinite(areas)
    count = known.sum(axis=0)
    total = np.where(known, areas, 0).sum(axis=0)
    mean: Floats = np.divide(total, count, out=np.full(len(count), 0.5), where=count > 0)
    return mean
