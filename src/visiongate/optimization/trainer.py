"""Train a trial: a short training of a network, or a baseline, with some settings replaced."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from visiongate.adapters.mlflow.runs import open_run
from visiongate.optimization.measuring import measure_trial
from visiongate.optimization.trials import Report
from visiongate.optimization.workers import trial_threads
from visiongate.records.history import EpochMetrics
from visiongate.records.search import Values
from visiongate.records.transform import read_transform
from visiongate.settings.loading import replace_settings
from visiongate.settings.schema import Settings

# Of the settings by dotted name, the one that a fresh seed replaces.
SEED = "training.seed"


@dataclass(frozen=True, slots=True)
class Trainer:
    """Trains one trial, as an MLflow run. It can be pickled for other processes.

    Attributes:
        settings: The settings that a trial's values replace.
        directory: The folder of the pixel arrays.
        title: The start of the runs' names.
        parent: The id of the run that contains the runs.
    """

    settings: Settings
    directory: Path
    title: str
    parent: str

    def __call__(self, index: int, values: Values, report: Report) -> float:
        """Train with a trial's values, and return its score; higher is better."""
        optimize, title = self.settings.optimize, f"{self.title} {index}"
        trial = {"training.epochs": optimize.epochs, SEED: optimize.seed, **values}
        settings = replace_settings(self.settings, trial, title)
        with (
            _threads(trial_threads(settings, read_transform(self.directory).size)),
            open_run(self.settings.tracking, title, values, {}, parent_id=self.parent) as run,
        ):

            def on_step(step: int, epoch: EpochMetrics, score: float) -> None:
                run.log_metrics(epoch.defined(), step)
                report(step, score)

            return measure_trial(settings, self.directory, on_step, is_fresh=SEED in values)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Compute with a number of threads within the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
