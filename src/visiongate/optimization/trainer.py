"""Train a trial: a short training of a network, or a baseline, with some settings replaced."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from visiongate.adapters.mlflow.runs import open_run
from visiongate.images.folds import load_folds
from visiongate.images.pixels import load_split
from visiongate.optimization.trials import Report
from visiongate.optimization.workers import trial_threads
from visiongate.records.history import EpochMetrics, average_histories
from visiongate.records.search import Values
from visiongate.records.transform import Transform, read_transform
from visiongate.settings.loading import replace_settings
from visiongate.settings.model import Model
from visiongate.settings.schema import Settings
from visiongate.training.hardware import reproducible
from visiongate.training.loop import Callbacks, fit
from visiongate.training.memory import explain_out_of_memory
from visiongate.training.one_step import (
    ClassifierRecipe,
    LabeledFeatures,
    fit_one_step,
    read_features,
)
from visiongate.training.recipes import make_recipe
from visiongate.training.task import prepare_task

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
        """Train with a trial's values, and return the score of the best epoch; higher is better."""
        optimize, title = self.settings.optimize, f"{self.title} {index}"
        trial = {"training.epochs": optimize.epochs, SEED: optimize.seed, **values}
        settings = replace_settings(self.settings, trial, title)
        with (
            _threads(trial_threads(settings, read_transform(self.directory).size)),
            reproducible(settings.training.seed),
            open_run(self.settings.tracking, title, values, {}, parent_id=self.parent) as run,
        ):

            def on_epoch(epoch: EpochMetrics, _images_per_second: float) -> None:
                run.log_metrics(epoch.defined(), epoch.epoch)
                report(epoch.epoch, epoch.score(optimize.metric))

            train = _train if isinstance(settings.model, Model) else partial(_fit, is_redrawn=SEED in values)
            return train(settings, self.directory, Callbacks(on_epoch)).score(optimize.metric)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Compute with a number of threads within the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _train(settings: Settings, directory: Path, callbacks: Callbacks) -> EpochMetrics:
    """Train a network, and return the best epoch."""
    with explain_out_of_memory(settings.network.batch_size, settings.training.accumulation):
        task = prepare_task(directory, settings.network, settings.training)
        return fit(task, settings.network, settings.training, callbacks).best


def _fit(settings: Settings, directory: Path, callbacks: Callbacks, *, is_redrawn: bool) -> EpochMetrics:
    """Fit a classifier in one step, and return its metrics.

    With cross-validation, the metrics are means over all folds: a classifier takes seconds, and one fold of few images says
    little.

    Args:
        settings: Of the trial.
        directory: The folder of the pixel arrays.
        callbacks: Only ``on_epoch`` is called.
        is_redrawn: Draw the training images with replacement. A fresh seed must change something, and most of these
            classifiers have no randomness of their own.
    """
    transform = read_transform(directory)
    recipe = make_recipe(settings, transform)
    epochs = []
    for train, val in _read_parts(recipe, directory, transform):
        seen = _redraw(train, settings.training.seed) if is_redrawn else train
        epochs.append(fit_one_step(recipe, seen, val).epoch)
    [epoch] = average_histories([[each] for each in epochs], settings.training.monitor)
    callbacks.on_epoch(epoch, len(epochs))
    return epoch


def _read_parts(
    recipe: ClassifierRecipe, directory: Path, transform: Transform
) -> Iterator[tuple[LabeledFeatures, LabeledFeatures]]:
    """Yield training and validation images: of the splits, or of each fold."""
    if transform.protocol == "holdout":
        train, val = (read_features(recipe, load_split(directory, split)) for split in ("train", "val"))
        yield train, val
        return
    data = load_folds(directory)
    images = read_features(recipe, data.pixels)
    for fold in data:
        yield images.take(data.rows(fold, "train")), images.take(data.rows(fold, "val"))


def _redraw(images: LabeledFeatures, seed: int) -> LabeledFeatures:
    """Draw as many images of each class with replacement."""
    generator = np.random.default_rng(seed)
    rows = [np.flatnonzero(images.labels == label) for label in np.unique(images.labels)]
    return images.take(np.concatenate([generator.choice(each, len(each)) for each in rows]))
