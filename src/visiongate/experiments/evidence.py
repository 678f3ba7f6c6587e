"""What an experiment showed: its intervals, the gate's verdict, the curves of its training, its answers to the test images."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from visiongate.adapters.git import Repository
from visiongate.comparison.predictions import GroundTruth, UnlabeledPredictions
from visiongate.experiments.cached_outputs import Cache
from visiongate.experiments.listing import Experiment
from visiongate.records.history import read_history
from visiongate.records.interval import Interval
from visiongate.records.manifest import parse_manifest
from visiongate.records.transform import parse_transform


@dataclass(frozen=True, slots=True)
class Places:
    """Where the line keeps what is read here, in its outputs."""

    gate: Path
    intervals: Path
    history: Path
    predictions: Path
    manifest: Path
    transform: Path


@dataclass(frozen=True, slots=True)
class Answered:
    """What a model answered, and to what."""

    answers: UnlabeledPredictions
    exam: GroundTruth
    images: tuple[str, ...]  # sha256 of each


class Evidence:
    """Reads files of experiments, from git and from DVC's cache."""

    def __init__(self, repository: Repository, cache: Cache, places: Places) -> None:
        self._repository = repository
        self._cache = cache
        self._places = places

    def passed(self, experiment: Experiment) -> bool | None:
        """Return the gate's verdict; None where there is none, or it is not on this experiment."""
        if self._places.gate.as_posix() not in experiment.outs:
            return None
        text = self._repository.read(experiment.rev, self._places.gate)
        verdict = _parse(text).get("passed")
        return verdict if isinstance(verdict, bool) else None

    def intervals(self, experiment: Experiment) -> dict[str, Interval]:
        """Return the interval of each metric that has one; of none where the cache does not have the file."""
        path = self._cache.find(experiment.outs, self._places.intervals)
        content = _parse(None if path is None else path.read_text(encoding="utf-8"))
        return {name: Interval(**bounds) for name, bounds in content.items()}

    def curve(self, experiment: Experiment, columns: tuple[str, ...]) -> tuple[str, list[float]] | None:
        """Return the first of some columns that the training's history has, epoch by epoch."""
        path = self._cache.find(experiment.outs, self._places.history)
        if path is None:
            return None
        history = read_history(path)
        for column in columns:
            values = [value for epoch in history if (value := getattr(epoch, column, None)) is not None]
            if values:
                return column, values
        return None

    def answered(self, experiment: Experiment) -> Answered | None:
        """Return the answers to the test images; None where the cache does not have them."""
        wanted = (self._places.predictions, self._places.manifest, self._places.transform)
        found = [self._cache.find(experiment.outs, path) for path in wanted]
        if None in found:
            return None
        predictions, manifest, transform = (path for path in found if path is not None)
        names = parse_transform(transform.read_bytes()).classes
        classes = {name: number for number, name in enumerate(names)}
        table = pq.read_table(predictions)
        tested = parse_manifest(manifest.read_bytes(), ["split", "group"])
        tested = tested.filter(pc.equal(tested.column("split"), "test"))
        probabilities = np.stack(table.column("probabilities").to_numpy(zero_copy_only=False))
        predicted = [classes[name] for name in table.column("predicted").to_pylist()]
        labels = [classes[name] for name in table.column("label").to_pylist()]
        return Answered(
            UnlabeledPredictions(probabilities.astype(np.float64), np.asarray(predicted, dtype=np.int64)),
            GroundTruth(np.asarray(labels, dtype=np.int64), tested.column("group").to_pylist()),
            tuple(table.column("sha256").to_pylist()),
        )


def _parse(text: str | None) -> Mapping[str, Any]:
    try:
        content = json.loads(text or "{}")
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
