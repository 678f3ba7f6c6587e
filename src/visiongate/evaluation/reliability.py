"""Whether a model knows what it does not know: its prediction sets on the test images, and its novelty on foreign images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from visiongate.evaluation.corruptions import Robustness
from visiongate.evaluation.folds import JudgedFold
from visiongate.evaluation.foreign_images import load_foreign_images
from visiongate.evaluation.scorecard import ShareOfImages
from visiongate.models.embedding import run_cached
from visiongate.models.predictions import Predictions
from visiongate.models.predictor import NOVELTY, Predictor
from visiongate.models.reliability import is_out_of_distribution, is_sure, prediction_sets
from visiongate.records.evaluation import NoveltyShare
from visiongate.records.reliability import Reliability, read_reliability

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ReliabilityResult:
    """The reliability of a model on the test images.

    Attributes:
        stated: In the file of the exported model.
        sets: The prediction sets, N×K.
        sure: Whether each prediction is sure, N.
        outside: Whether each image is called out of distribution, N; None if the model has no threshold.
        novelty: The share of other images that are, too.
    """

    stated: Reliability
    sets: Flags
    sure: Flags
    outside: Flags | None
    novelty: list[NoveltyShare]

    def shares(self, test: Predictions) -> list[ShareOfImages]:
        """Return the metrics that are shares of the test images."""
        covered = self.sets[np.arange(len(test.labels)), test.labels]
        shares = [
            ShareOfImages("coverage", covered),
            ShareOfImages("sure_share", self.sure),
            ShareOfImages("sure_accuracy", test.correct, self.sure),
        ]
        return shares if self.outside is None else [*shares, ShareOfImages("false_alarms", self.outside)]

    def metrics(self) -> dict[str, float]:
        """Return the other metrics that were measured."""
        metrics = {"set_size": float(self.sets.sum(axis=1).mean())}
        foreign = [row.share for row in self.novelty if row.kind == "foreign"]
        return metrics | ({"foreign_found": float(np.mean(foreign))} if foreign else {})


def judge_reliability(
    model: Predictor,
    folds: Sequence[JudgedFold],
    test: Predictions,
    robustness: Robustness | None,
    dataset: str,
) -> ReliabilityResult | None:
    """Apply the thresholds of each model to its test images; None if a model does not state them.

    Args:
        model: The exported model, which foreign images are shown.
        folds: The test images.
        test: The predictions for them.
        robustness: On corrupted test images.
        dataset: The name of the data set, which is not foreign to itself.

    Raises:
        DataError: The reliability in a file is invalid.
    """
    stated = read_reliability(model.metadata, model.name)
    by_fold = [read_reliability(fold.model.metadata, fold.model.name) for fold in folds]
    known = [each for each in by_fold if each is not None]
    if stated is None or len(known) < len(folds):
        return None
    ends = np.cumsum([len(fold.test.pixels.labels) for fold in folds])[:-1]
    parts = np.split(test.probabilities, ends)
    sets = np.concatenate([prediction_sets(part, each) for part, each in zip(parts, known, strict=True)])
    outside = _outside(folds, known)
    novelty = [] if outside is None else _novelty_shares(model, stated, outside, robustness, dataset)
    return ReliabilityResult(stated, sets, is_sure(sets, test.predicted), outside, novelty)


def _outside(folds: Sequence[JudgedFold], reliabilities: Sequence[Reliability]) -> Flags | None:
    if any(each.novelty_threshold is None for each in reliabilities):
        return None
    return np.concatenate(
        [
            is_out_of_distribution(
                run_cached(fold.model, fold.test.pixels.images, [NOVELTY])[NOVELTY], reliability
            )
            for fold, reliability in zip(folds, reliabilities, strict=True)
        ]
    )


def _novelty_shares(
    model: Predictor, stated: Reliability, outside: Flags, robustness: Robustness | None, dataset: str
) -> list[NoveltyShare]:
    rows = [NoveltyShare("test", "test images", None, len(outside), float(outside.mean()))]
    if robustness is not None:
        rows += [
            NoveltyShare("corrupted", name, severity, robustness.images, share)
            for name, shares in robustness.alarms.items()
            for severity, share in enumerate(shares)
            if severity
        ]
    for name, images in load_foreign_images(model.contract, dataset).items():
        alarms = is_out_of_distribution(run_cached(model, images, [NOVELTY])[NOVELTY], stated)
        rows.append(NoveltyShare("foreign", name, None, len(images), float(alarms.mean())))
    return rows
