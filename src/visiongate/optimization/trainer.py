"""Train a trial: a short training of a network, or a baseline, with some settings replaced."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from visiongate.adapters.mlflow.runs import open_run
from visiongate.images.pixels import load_split
from visiongate.models.registry import build_baseline
from visiongate.optimization.study import Report
from visiongate.records.history import EpochMetrics
from visiongate.records.search import Values
from visiongate.records.transform import read_transform
from visiongate.settings.loading import replace_settings
from visiongate.settings.model import Baseline
from visiongate.settings.schema import Settings
from visiongate.training.baselines import fit_baseline
from visiongate.training.hardware import reproducible
from visiongate.training.loop import Callbacks, fit
from visiongate.training.memory import explain_out_of_memory
from visiongate.training.task import prepare_task

# Of the settings by dotted name, the one that a fresh seed replaces.
SEED = "training.seed"
# Up to this image size, a second thread costs more than it computes: beside other processes, a step took twice as long with it.
SMALL_SIZE = 16


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
        """Train with a trial's values, and return the score of the best epoch; higher is better."""
        optimize, title = self.settings.optimize, f"{self.title} {index}"
        trial = {"training.epochs": optimize.epochs, SEED: optimize.seed, **values}
        settings = replace_settings(self.settings, trial, title)
        with (
            _fitting_threads(read_transform(self.directory).size),
            reproducible(settings.training.seed),
            open_run(self.settings.tracking, title, values, {}, parent_id=self.parent) as run,
        ):

            def on_epoch(epoch: EpochMetrics, _images_per_second: float) -> None:
                run.log_metrics(epoch.defined(), epoch.epoch)
                report(epoch.epoch, epoch.score(optimize.metric))

            return _train(settings, self.directory, Callbacks(on_epoch)).score(optimize.metric)


@contextmanager
def _fitting_threads(size: int) -> Iterator[None]:
    """Use one thread for small images within the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if size <= SMALL_SIZE else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _train(settings: Settings, directory: Path, callbacks: Callbacks) -> EpochMetrics:
    """Train a network or fit a baseline, and return the best epoch."""
    if isinstance(settings.model, Baseline):
        classifier = build_baseline(settings.model.name, settings.model.options, settings.training.seed)
        train, val = (load_split(directory, split) for split in ("train", "val"))
        epoch = fit_baseline(classifier, train, val, read_transform(directory)).epoch
        callbacks.on_epoch(epoch, len(train.labels))
        return epoch
    with explain_out_of_memory(settings.model.batch_size, settings.training.accumulation):
        task = prepare_task(directory, settings.network, settings.training)
        return fit(task, settings.network, settings.training, callbacks).best
