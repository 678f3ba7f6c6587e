"""The results of an experiment: gate verdict, confidence intervals and test predictions, from git and DVC's cache."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from visiongate.adapters.git import Repository
from visiongate.comparison.predictions import GroundTruth, UnlabeledPredictions
from visiongate.errors import DataError
from visiongate.experiments.cache import Cache
from visiongate.experiments.listing import Experiment
from visiongate.records.evaluation import parse_intervals
from visiongate.records.interval import Interval
from visiongate.records.manifest import parse_manifest
from visiongate.records.parsing import parse_json
from visiongate.records.predictions import parse_predictions
from visiongate.records.transform import parse_transform


@dataclass(frozen=True, slots=True)
class ResultPaths:
    """The files that hold the results."""

    gate: Path
    intervals: Path
    predictions: Path
    manifest: Path
    transform: Path


@dataclass(frozen=True, slots=True)
class TestedModel:
    """A model's predictions for the test images.

    Attributes:
        predictions: The predictions.
        truth: The labels and groups of the images.
        sha256: Of each image's file.
    """

    predictions: UnlabeledPredictions
    truth: GroundTruth
    sha256: tuple[str, ...]


class ResultReader:
    """Reads the results of experiments."""

    def __init__(self, repository: Repository, cache: Cache, paths: ResultPaths) -> None:
        self._repository = repository
        self._cache = cache
        self._paths = paths

    def read_gate(self, experiment: Experiment) -> bool | None:
        """Return whether the gate passed; None if there is no verdict on this experiment."""
        if self._paths.gate.as_posix() not in experiment.outs:
            return None
        text = self._repository.read(experiment.rev, self._paths.gate)
        try:
            verdict = parse_json(text or "{}")
        except DataError:
            return None
        return verdict.get("passed") if isinstance(verdict, dict) else None

    def read_intervals(self, experiment: Experiment) -> dict[str, Interval]:
        """Return the confidence interval of each metric; empty if the cache does not have the file."""
        content = self._cache.read(experiment.outs, self._paths.intervals)
        return {} if content is None else parse_intervals(content)

    def read_predictions(self, experiment: Experiment) -> TestedModel | None:
        """Return the test predictions; None if the cache does not have the files.

        Raises:
            DataError: A file is damaged.
        """
        predictions, manifest, transform = (
            self._cache.read(experiment.outs, path)
            for path in (self._paths.predictions, self._paths.manifest, self._paths.transform)
        )
        if predictions is None or manifest is None or transform is None:
            return None
        numbers = {name: number for number, name in enumerate(parse_transform(transform).classes)}
        table = parse_predictions(predictions)
        rows = parse_manifest(manifest, ("split", "group")).to_pylist()
        return TestedModel(
            UnlabeledPredictions(table.probabilities, np.array([numbers[name] for name in table.predicted])),
            GroundTruth(
                np.array([numbers[name] for name in table.labels]),
                [row["group"] for row in rows if row["split"] == "test"],
            ),
            tuple(table.sha256),
        )
