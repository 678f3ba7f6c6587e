"""Train a model for each fold, which judges the recipe, and the final model on all images.

The model of a fold does not see its images, which `evaluate` predicts with it. Its epoch and its temperature are chosen on the
next fold, and it is trained on the others. No images are left to choose the final model's epoch on: it is trained for the
number of epochs that is best on the average of the folds, and has the temperature that fits the validation predictions of all
folds together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from visiongate import paths
from visiongate.adapters.mlflow.runs import Run
from visiongate.images.folds import FoldedImages, load_folds
from visiongate.images.pixels import PixelSplit
from visiongate.records.files import sha256_of
from visiongate.records.history import EpochMetrics, average_histories, best_epoch
from visiongate.records.manifest import MANIFEST_FILE
from visiongate.records.splits import validation_fold
from visiongate.records.transform import Transform
from visiongate.settings.schema import Settings
from visiongate.training import distributed
from visiongate.training.calibration import fit_temperature
from visiongate.training.finishing import ValidationOutputs, calibrate_fold, finish, finish_on_folds
from visiongate.training.image_selection import images_per_epoch
from visiongate.training.loop import Callbacks, FitResult, fit_without_validation, predict_split
from visiongate.training.one_step import ClassifierRecipe, fit_one_step, read_features
from visiongate.training.progress import TrainingProgress
from visiongate.training.task import Task, build_task
from visiongate.training.tracked_fit import Part, fit_tracked, open_checkpoint
from visiongate.training.trained_model import TrainedModel, describe_network, finished


@dataclass(frozen=True, slots=True)
class _Folds:
    """What the trainings of all folds have in common; the hash is that of the manifest."""

    settings: Settings
    data: FoldedImages
    transform: Transform
    manifest_sha256: str


@dataclass(frozen=True, slots=True)
class _FoldResult:
    """The training of a fold.

    Attributes:
        history: Of its epochs.
        logits: N×K, for the fold that validates it.
        labels: N.
        outputs: Of its file for the same images; None in every process but the first.
    """

    history: list[EpochMetrics]
    logits: Tensor
    labels: Tensor
    outputs: ValidationOutputs | None


def fold_checkpoint(fold: int) -> Path:
    """Return the checkpoint of a fold's training. All are kept until the final model is written."""
    return paths.CHECKPOINT.with_name(f"{paths.CHECKPOINT.stem}-fold-{fold}{paths.CHECKPOINT.suffix}")


def train_network_on_folds(
    settings: Settings, transform: Transform, tracked: Run | None
) -> tuple[TrainedModel, FitResult]:
    """Write the network of each fold to ``models/folds``; return the final one, and the mean history of the folds.

    Args:
        settings: The sections ``model`` and ``training``.
        transform: The preprocessing of the images.
        tracked: The run; None in every process but the first.

    Raises:
        VisiongateError: As `visiongate.training.loop.fit`.
    """
    folds = _Folds(
        settings, load_folds(paths.TRANSFORMED), transform, sha256_of(paths.TRANSFORMED / MANIFEST_FILE)
    )
    data = folds.data
    results = [_train_fold(folds, fold, tracked) for fold in data]
    history = average_histories([result.history for result in results], settings.training.monitor)
    best = best_epoch(history, settings.training.monitor)
    task = _prepare(folds, data.pixels, data.split(0, "val"))
    name = f"{settings.model.name} · all images"
    with TrainingProgress(
        name, best.epoch, images_per_epoch(len(task.train), settings.training), settings.training.monitor
    ) as progress:
        callbacks = Callbacks(on_images=progress.advance)
        fit_without_validation(task, settings.network, settings.training, best.epoch, callbacks)
    logits, labels = (torch.cat([getattr(each, name) for each in results]) for name in ("logits", "labels"))
    described = describe_network(task, transform, fit_temperature(logits, labels))
    outputs = [result.outputs for result in results if result.outputs is not None]
    _calibrate_folds(data, outputs, settings)
    return _finished_on_folds(described, data, outputs, settings), FitResult(history, best)


def fit_on_folds(
    recipe: ClassifierRecipe, data: FoldedImages, settings: Settings
) -> tuple[TrainedModel, FitResult]:
    """Write the classifier of each fold to ``models/folds``; return the final one, and the mean metrics of the folds.

    Args:
        recipe: Of a classifier that is fitted in one step.
        data: The images of all folds.
        settings: The sections ``model`` and ``training``.

    Raises:
        DataError: All training images of a fold have the same class.
    """
    images = read_features(recipe, data.pixels)
    results, outputs = [], []
    for fold in data:
        result = fit_one_step(
            recipe, images.take(data.rows(fold, "train")), images.take(data.rows(fold, "val"))
        )
        results.append(result)
        outputs.append(_write_fold(result.classifier.describe(result.temperature), data, fold, settings))
    (epoch,) = average_histories([[result.epoch] for result in results], settings.training.monitor)
    labels = np.concatenate([images.labels[data.rows(fold, "val")] for fold in data])
    logits = torch.cat([result.val_logits for result in results])
    _calibrate_folds(data, outputs, settings)
    final = recipe.fit(images.features, images.labels)
    described = final.describe(fit_temperature(logits, torch.from_numpy(labels)))
    return _finished_on_folds(described, data, outputs, settings), FitResult([epoch], epoch)


def _calibrate_folds(data: FoldedImages, outputs: Sequence[ValidationOutputs], settings: Settings) -> None:
    """Calibrate the file of each fold on all validation images but those that test it; only the first process has outputs."""
    count = len(list(data))
    for fold in data if outputs else ():
        others = [outputs[each] for each in data if validation_fold(each, count) != fold]
        calibrate_fold(paths.fold_model(fold), others, settings)


def _finished_on_folds(
    trained: TrainedModel, data: FoldedImages, outputs: Sequence[ValidationOutputs], settings: Settings
) -> TrainedModel:
    return finished(trained, lambda path: finish_on_folds(path, data.pixels, outputs, settings))


def _train_fold(folds: _Folds, fold: int, tracked: Run | None) -> _FoldResult:
    settings, data = folds.settings, folds.data
    task = _prepare(folds, data.split(fold, "train"), data.split(fold, "val"))
    checkpoint = open_checkpoint(
        fold_checkpoint(fold), settings, task, fold=fold, images=folds.manifest_sha256
    )
    title = f"{settings.model.name} · fold {fold + 1} of {len(list(data))}"
    result = fit_tracked(settings, task, Part(title, checkpoint, f"fold_{fold}/"), tracked)
    logits = predict_split(task, task.network, settings.network.batch_size).cpu()
    labels = task.val.labels.cpu()
    outputs = None
    if distributed.rank() == 0:
        described = describe_network(task, folds.transform, fit_temperature(logits, labels))
        outputs = _write_fold(described, data, fold, settings)
    return _FoldResult(result.history, logits, labels, outputs)


def _write_fold(
    described: TrainedModel, data: FoldedImages, fold: int, settings: Settings
) -> ValidationOutputs:
    path = paths.fold_model(fold)
    described.export(path)
    return finish(path, data.split(fold, "train"), data.split(fold, "val"), settings)


def _prepare(folds: _Folds, train: PixelSplit, val: PixelSplit) -> Task:
    # Each fold starts from the same weights, as it would if its training were resumed alone.
    torch.manual_seed(folds.settings.training.seed)
    return build_task(folds.transform, (train, val), folds.settings.network, folds.settings.training)
