"""Experiments as the ranking sees them, without a repository."""

from typing import cast

import numpy as np
from visiongate.experiments.evidence import Answered, Evidence

from visiongate.comparison.predictions import GroundTruth, UnlabeledPredictions
from visiongate.experiments.listing import Experiment, State
from visiongate.records.interval import Interval

IMAGES = 60


def experiment(name: str, accuracy: float | None, state: State = "done", **params: object) -> Experiment:
    metrics = {} if accuracy is None else {"accuracy": accuracy, "log_loss": 1 - accuracy}
    return Experiment(name, f"rev of {name}", "b" * 40, state, params, metrics, {})


class _Told:
    """Evidence that is made up from an experiment's accuracy."""

    def passed(self, tried: Experiment) -> bool | None:
        accuracy = tried.metrics.get("accuracy")
        return None if accuracy is None else accuracy > 0.5

    def intervals(self, tried: Experiment) -> dict[str, Interval]:
        accuracy = tried.metrics.get("accuracy")
        return {} if accuracy is None else {"accuracy": Interval(accuracy, accuracy - 0.1, accuracy + 0.1)}

    def answered(self, tried: Experiment) -> Answered | None:
        options = tried.params
        if options.get("lost"):
            return None
        labels = np.arange(IMAGES) % 2
        right = round(IMAGES * tried.metrics["accuracy"])
        predicted = np.where(np.arange(IMAGES) < right, labels, 1 - labels)
        probabilities = np.where(np.arange(2) == predicted[:, None], 0.9, 0.1)
        images = tuple(f"{options.get('images', '')}{place}" for place in range(IMAGES))
        groups = [options.get("group")] * IMAGES
        return Answered(UnlabeledPredictions(probabilities, predicted), GroundTruth(labels, groups), images)


EVIDENCE = cast("Evidence", _Told())
