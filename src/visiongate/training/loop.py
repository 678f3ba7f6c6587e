"""Fit a network: train and validate each epoch, and keep the best epoch's weights."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from visiongate.errors import DivergedError, NotLearningError
from visiongate.records.history import EpochMetrics
from visiongate.settings.fields import Monitor
from visiongate.settings.model import Model
from visiongate.settings.training import Training
from visiongate.training import distributed
from visiongate.training.batches import to_pixels
from visiongate.training.checkpoint import Checkpoint
from visiongate.training.image_selection import images_per_epoch
from visiongate.training.task import Task
from visiongate.training.trainer import Trainer
from visiongate.training.validation_metrics import check_metric, measure_logits

# A model with a lower ROC-AUC has learned nothing.
MIN_USEFUL_AUC = 0.55
# Training images that a network must have seen before it is said to learn nothing.
MIN_SEEN_IMAGES = 1500


@dataclass(frozen=True, slots=True)
class FitResult:
    """The history of a training, and its best epoch, whose weights the network has."""

    history: list[EpochMetrics]
    best: EpochMetrics


@dataclass(frozen=True, slots=True)
class Callbacks:
    """Functions that are called during a training; an exception ends the training.

    Attributes:
        on_epoch: Gets the metrics of an epoch, and the images per second.
        on_images: Gets the number of images of a step.
        on_resumed: Gets the epochs of the checkpoint.
        on_checkpoint_rejected: Gets the reason.
    """

    on_epoch: Callable[[EpochMetrics, float], None] = lambda _epoch, _speed: None
    on_images: Callable[[int], None] = lambda _count: None
    on_resumed: Callable[[list[EpochMetrics]], None] = lambda _history: None
    on_checkpoint_rejected: Callable[[str], None] = lambda _reason: None


def fit(
    task: Task, model: Model, training: Training, callbacks: Callbacks, checkpoint: Checkpoint | None = None
) -> FitResult:
    """Train until ``epochs`` or ``patience`` is reached, and leave the best epoch's weights in the network.

    Args:
        task: Its network is trained in place.
        model: ``model`` of the settings.
        training: ``training`` of the settings.
        callbacks: Called during the training.
        checkpoint: Resumed from, and saved after each epoch; None disables both.

    Raises:
        DivergedError: The loss is NaN or infinite, or the network learns nothing.
        SettingsError: The monitored metric is undefined for the data.
    """
    check_metric("training.monitor", training.monitor, task.classes, task.val.labels)
    trainer = Trainer(task, model, training)
    progress = _Progress(trainer, checkpoint, model.unfreeze_after or 0)
    progress.restore(callbacks)
    while not progress.is_over(training):
        number = len(progress.history) + 1
        started = time.perf_counter()
        with task.hardware.computing():
            lr, loss, accuracy = trainer.train_epoch(number, callbacks.on_images)
        speed = trainer.images_per_epoch / (time.perf_counter() - started)
        _check_finite(number, loss, model)
        logits = predict_split(task, trainer.averaged, model.batch_size)
        validated = asdict(measure_logits(logits, task.val.labels))
        values = {f"val_{name}": value for name, value in validated.items()}
        epoch = EpochMetrics(epoch=number, lr=lr, train_loss=loss, train_accuracy=accuracy, **values)
        _check_finite(number, epoch.val_loss, model)
        progress.add(epoch, training.monitor)
        _check_learning(progress.history, task, model, training)
        callbacks.on_epoch(epoch, speed)
        progress.save()
    task.network.load_state_dict(progress.weights)
    return FitResult(progress.history, progress.best or progress.history[-1])


def fit_without_validation(
    task: Task, model: Model, training: Training, epochs: int, callbacks: Callbacks
) -> None:
    """Train for a number of epochs that other images determined, and leave the last weights in the network.

    The learning rate follows the schedule of ``training.epochs``, as in the trainings that determined the number.

    Args:
        task: Its network is trained in place; its validation images are not used.
        model: ``model`` of the settings.
        training: ``training`` of the settings.
        epochs: At most ``training.epochs``.
        callbacks: Only ``on_images`` is called.

    Raises:
        DivergedError: The loss is NaN or infinite.
    """
    trainer = Trainer(task, model, training)
    for number in range(1, epochs + 1):
        with task.hardware.computing():
            _, loss, _ = trainer.train_epoch(number, callbacks.on_images)
        _check_finite(number, loss, model)
    task.network.load_state_dict(trainer.averaged.state_dict())


class _Progress:
    """The history, the best epoch's weights and the trainer's state, which a checkpoint stores."""

    def __init__(self, trainer: Trainer, checkpoint: Checkpoint | None, frozen_epochs: int) -> None:
        self.history: list[EpochMetrics] = []
        self.best: EpochMetrics | None = None
        self.weights: dict[str, Tensor] = {}
        self._trainer = trainer
        self._checkpoint = checkpoint
        self._frozen_epochs = frozen_epochs

    def is_over(self, training: Training) -> bool:
        """Return whether all epochs are done, or ``patience`` epochs with a trained backbone brought no improvement."""
        if len(self.history) >= training.epochs:
            return True
        since_best = 0
        if self.best is not None:
            since_best = len(self.history) - max(self.best.epoch, self._frozen_epochs)
        return training.patience is not None and since_best >= training.patience

    def add(self, epoch: EpochMetrics, monitor: Monitor) -> None:
        self.history.append(epoch)
        if epoch.is_better_than(self.best, monitor):
            self.best = epoch
            state = self._trainer.averaged.state_dict()
            self.weights = {name: value.detach().clone() for name, value in state.items()}

    def save(self) -> None:
        if self._checkpoint is not None and distributed.rank() == 0:
            state = {
                "history": [asdict(epoch) for epoch in self.history],
                "best": None if self.best is None else self.best.epoch,
                "weights": self.weights,
                "trainer": self._trainer.state(),
            }
            self._checkpoint.save(state)

    def restore(self, callbacks: Callbacks) -> None:
        state, reason = (None, None) if self._checkpoint is None else self._checkpoint.load()
        if not distributed.is_equal_everywhere(0 if state is None else len(state["history"])):
            state, reason = None, "some machines do not have it"
        if reason is not None:
            callbacks.on_checkpoint_rejected(reason)
        if state is not None:
            self.history = [EpochMetrics(**epoch) for epoch in state["history"]]
            self.best = self.history[state["best"] - 1]
            self.weights = state["weights"]
            self._trainer.restore(state["trainer"])
            callbacks.on_resumed(self.history)


@torch.no_grad()
def predict_split(task: Task, network: nn.Module, batch_size: int) -> Tensor:
    """Return the logits of the validation images, float32 N×K; all processes share the work."""
    network.eval()
    images = distributed.local_part(task.val.images)
    with task.hardware.computing(), task.hardware.autocast():
        logits = [network(task.normalize(to_pixels(chunk))).float() for chunk in images.split(batch_size)]
    parts = torch.cat(logits) if logits else torch.empty(0, task.classes, device=images.device)
    return distributed.gather(parts, len(task.val))


def _check_finite(epoch: int, loss: float, model: Model) -> None:
    if not math.isfinite(loss):
        raise DivergedError(
            f"epoch {epoch}: the training diverged: the loss is {loss}. Lower model.lr (now {model.lr:g}), raise model.warmup "
            f"(now {model.warmup:g}), set training.gradient_clip=1, or set training.precision=fp32"
        )


def _check_learning(history: list[EpochMetrics], task: Task, model: Model, training: Training) -> None:
    """Stop after ``give_up`` epochs if none was better than predicting the most frequent class.

    A small training set takes more epochs: a few steps say nothing about the learning rate.
    """
    if training.give_up is None:
        return
    images = images_per_epoch(len(task.train), training)
    if len(history) != max(training.give_up, math.ceil(MIN_SEEN_IMAGES / images)):
        return
    majority = float(torch.bincount(task.val.labels).max()) / len(task.val)
    learned = any(
        epoch.val_accuracy > majority or (epoch.val_roc_auc or 0) > MIN_USEFUL_AUC for epoch in history
    )
    if not learned and majority < 1:
        raise NotLearningError(
            f"epoch {len(history)}: the network learns nothing: validation accuracy never exceeded {majority:.2%}, the share "
            f"of the most frequent class. Raise or lower model.lr (now {model.lr:g}) tenfold, check reports/preparation for "
            "wrong labels, or set training.give_up=null to continue"
        )
