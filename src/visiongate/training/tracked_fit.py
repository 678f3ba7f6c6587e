"""Fit a network with a progress bar, checkpoints, TensorBoard and an MLflow run."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from visiongate import paths
from visiongate.adapters.mlflow.runs import Run, open_run
from visiongate.records.history import EpochMetrics
from visiongate.settings.schema import Settings
from visiongate.training import distributed
from visiongate.training.checkpoint import Checkpoint, weights_sha256
from visiongate.training.fingerprint import code_sha256, data_sha256
from visiongate.training.image_selection import images_per_epoch
from visiongate.training.loop import Callbacks, FitResult, fit
from visiongate.training.progress import TrainingProgress
from visiongate.training.run_description import describe_run
from visiongate.training.task import Task
from visiongate.training.tensorboard import open_epoch_log

# Of the run: device, precision and threads.
HARDWARE_TAG = "visiongate.hardware"
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Part:
    """The training of one fold, or the only training.

    Attributes:
        title: Shown by the progress bar.
        checkpoint: Resumed from, and saved after each epoch.
        prefix: Of the names of the metrics in MLflow and TensorBoard.
    """

    title: str
    checkpoint: Checkpoint
    prefix: str = ""


def open_checkpoint(path: Path, settings: Settings, task: Task, **more: object) -> Checkpoint:
    """Open the checkpoint of a training; it is resumed only if everything that determines the training is unchanged.

    Args:
        path: The file.
        settings: The sections ``model`` and ``training``.
        task: The network before the training, and the hardware.
        more: Further inputs of the training, such as the fold.
    """
    inputs: dict[str, Any] = {
        **{
            f"{name}.{key}": value
            for name, section in training_params(settings).items()
            for key, value in section.items()
        },
        "data": data_sha256(paths.TRANSFORMED),
        "code": code_sha256(),
        "initial weights": weights_sha256(task.network),
        "torch": torch.__version__,
        "hardware": str(task.hardware),
        **more,
    }
    return Checkpoint(path, inputs)


@contextmanager
def open_training_run(settings: Settings, interrupted_id: str = "") -> Iterator[Run | None]:
    """Open the MLflow run of the training in the first process; yield None in the others."""
    if distributed.rank() > 0:
        yield None
        return
    name = settings.tracking.run_name or f"train {settings.model.name}"
    params = {**training_params(settings), **describe_run(paths.TRANSFORMED)}
    with open_run(settings.tracking, name, params, {}, interrupted_id=interrupted_id) as tracked:
        yield tracked


def training_params(settings: Settings) -> dict[str, dict[str, object]]:
    """Return the settings that a training depends on."""
    return {"model": settings.model.model_dump(), "training": settings.training.model_dump()}


def fit_tracked(settings: Settings, task: Task, part: Part, tracked: Run | None) -> FitResult:
    """Fit a network as `fit`; the first process, which has a run, shows and records each epoch.

    Raises:
        VisiongateError: As `fit`.
    """
    if tracked is None:
        return fit(task, settings.network, settings.training, Callbacks(), part.checkpoint)
    part.checkpoint.run_id = tracked.id
    tracked.set_tags({HARDWARE_TAG: str(task.hardware)})
    with _callbacks(settings, task, part, tracked) as callbacks:
        return fit(task, settings.network, settings.training, callbacks, part.checkpoint)


@contextmanager
def _callbacks(settings: Settings, task: Task, part: Part, tracked: Run) -> Iterator[Callbacks]:
    """Yield callbacks that show, log and track each epoch."""
    name, training = settings.model.name, settings.training
    log_directory = paths.TENSORBOARD / "-".join(filter(None, (name, tracked.id[:8]))) / part.prefix
    with (
        open_epoch_log(log_directory, enabled=training.tensorboard) as epoch_log,
        TrainingProgress(
            part.title, training.epochs, images_per_epoch(len(task.train), training), training.monitor
        ) as progress,
    ):

        def track(values: Mapping[str, float], step: int) -> None:
            tracked.log_metrics({part.prefix + key: value for key, value in values.items()}, step)

        def on_epoch(epoch: EpochMetrics, images_per_second: float) -> None:
            progress.show(epoch, images_per_second)
            epoch_log.write(epoch)
            track({**epoch.defined(), "images_per_second": images_per_second}, epoch.epoch)

        def on_resumed(history: list[EpochMetrics]) -> None:
            logger.info("Resuming after epoch %d from the checkpoint of %s", len(history), part.title)
            for epoch in history:
                epoch_log.write(epoch)
                track(epoch.defined(), epoch.epoch)

        def on_checkpoint_rejected(reason: str) -> None:
            logger.warning("%s: not resumed, training starts from epoch 1: %s", paths.CHECKPOINT, reason)

        yield Callbacks(on_epoch, progress.advance, on_resumed, on_checkpoint_rejected)
