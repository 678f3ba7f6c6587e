"""Experiments and their results, without a repository."""

from typing import cast

import numpy as np

from visiongate.comparison.predictions import GroundTruth, UnlabeledPredictions
from visiongate.experiments.listing import Experiment, State
from visiongate.experiments.results import ResultReader, TestedModel
from visiongate.records.interval import Interval

IMAGES = 60


def make_experiment(name: str, accuracy: float | None, state: State = "done", **params: object) -> Experiment:
    metrics = {} if accuracy is None else {"accuracy": accuracy, "log_loss": 1 - accuracy}
    return Experiment(name, f"rev of {name}", "b" * 40, state, params, metrics, {})


class _StubReader:
    """Results that follow from an experiment's accuracy."""

    def read_gate(self, experiment: Experiment) -> bool | None:
        accuracy = experiment.metrics.get("accuracy")
        return None if accuracy is None else accuracy > 0.5

    def read_intervals(self, experiment: Experiment) -> dict[str, Interval]:
        accuracy = experiment.metrics.get("accuracy")
        return {} if accuracy is None else {"accuracy": Interval(accuracy, accuracy - 0.1, accuracy + 0.1)}

    def read_predictions(self, experiment: Experiment) -> TestedModel | None:
        options = experiment.params
        if options.get("missing"):
            return None
        labels = np.arange(IMAGES) % 2
        correct = round(IMAGES * experiment.metrics["accuracy"])
        predicted = np.where(np.arange(IMAGES) < correct, labels, 1 - labels)
        classes = options.get("classes", 2)
        probabilities = np.where(np.arange(classes) == predicted[:, None], 0.9, 0.1)
        images = tuple(f"{options.get('images', '')}{index}" for index in range(IMAGES))
        groups = [options.get("group")] * IMAGES
        return TestedModel(
            UnlabeledPredictions(probabilities, predicted), GroundTruth(labels, groups), images
        )


READER = cast("ResultReader", _StubReader())
