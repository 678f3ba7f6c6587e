"""Measure settings: train a network, or fit a baseline or a probe, on each fold of the images that judge it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from visiongate.images.pixels import PixelSplit
from visiongate.optimization.judging import JudgingImages, load_judging_images
from visiongate.records.history import EpochMetrics
from visiongate.records.transform import Transform, read_transform
from visiongate.settings.model import Model
from visiongate.settings.schema import Settings
from visiongate.training.hardware import reproducible
from visiongate.training.loop import Callbacks, fit
from visiongate.training.memory import explain_out_of_memory
from visiongate.training.one_step import LabeledFeatures, fit_one_step
from visiongate.training.recipes import make_recipe
from visiongate.training.task import build_task

# Gets the step from 1, which counts the epochs of all folds, the epoch's metrics, and the score so far.
OnStep = Callable[[int, EpochMetrics, float], None]


def measure_trial(settings: Settings, directory: Path, on_step: OnStep, *, is_fresh: bool = False) -> float:
    """Return the mean score of the best epoch over the folds; higher is better.

    Args:
        settings: Of the trial: the sections ``model``, ``training`` and ``optimize``.
        directory: The folder of the pixel arrays.
        on_step: Called after each epoch; an exception ends the trial.
        is_fresh: Measure a fresh seed. A network is trained on one fold, another one for each seed. Most baselines and
            probes have no randomness of their own: they are fitted to training images drawn with replacement.
    """
    images = load_judging_images(directory, settings.optimize)
    score, transform = _Score(settings, on_step), read_transform(directory)
    if not isinstance(settings.model, Model):
        _fit(settings, transform, images, score, is_redrawn=is_fresh)
        return score.mean()
    for fold in [settings.training.seed % len(images)] if is_fresh else range(len(images)):
        _train(settings, transform, images.splits(fold), score)
    return score.mean()


@dataclass(slots=True)
class _Score:
    """The score so far: the mean over the finished folds and the best epoch so far of the current one."""

    settings: Settings
    on_step: OnStep
    finished: list[float] = field(default_factory=list)
    best: EpochMetrics | None = None
    steps: int = 0

    def add(self, epoch: EpochMetrics) -> None:
        """Add the next epoch of the current fold."""
        if epoch.is_better_than(self.best, self.settings.training.monitor):
            self.best = epoch
        self.steps += 1
        self.on_step(self.steps, epoch, self.mean())

    def finish(self) -> None:
        """End the current fold. Epochs that ``training.patience`` saved count as steps, so that steps are comparable."""
        if self.best is not None:
            self.finished.append(self.best.score(self.settings.optimize.metric))
            self.best = None
        self.steps = len(self.finished) * self.settings.optimize.epochs

    def mean(self) -> float:
        """Return the score so far."""
        current = [] if self.best is None else [self.best.score(self.settings.optimize.metric)]
        scores = [*self.finished, *current]
        return sum(scores) / len(scores)


def _train(
    settings: Settings, transform: Transform, splits: tuple[PixelSplit, PixelSplit], score: _Score
) -> None:
    """Train a network on a fold."""
    model, training = settings.network, settings.training
    # Each fold starts from the seed, so that it is the same whichever folds came before.
    with reproducible(training.seed), explain_out_of_memory(model.batch_size, training.accumulation):
        task = build_task(transform, splits, model, training)
        fit(task, model, training, Callbacks(lambda epoch, _speed: score.add(epoch)))
    score.finish()


def _fit(
    settings: Settings, transform: Transform, images: JudgingImages, score: _Score, *, is_redrawn: bool
) -> None:
    """Fit a classifier in one step on each fold."""
    recipe = make_recipe(settings, transform)
    for train, val in images.features(recipe):
        drawn = _redraw(train, settings.training.seed) if is_redrawn else train
        with reproducible(settings.training.seed):
            score.add(fit_one_step(recipe, drawn, val).epoch)
        score.finish()


def _redraw(images: LabeledFeatures, seed: int) -> LabeledFeatures:
    """Draw as many images of each class with replacement."""
    generator = np.random.default_rng(seed)
    rows = [np.flatnonzero(images.labels == label) for label in np.unique(images.labels)]
    return images.take(np.concatenate([generator.choice(each, len(each)) for each in rows]))
