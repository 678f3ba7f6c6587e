"""The training loop: fit a network, validate after each epoch, keep the best."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from visiongate.errors import DivergedError, SettingsError
from visiongate.settings.schema import Model, Monitor, Training
from visiongate.training import distributed
from visiongate.training.batches import to_pixels
from visiongate.training.checkpoint import Checkpoint
from visiongate.training.learner import Learner
from visiongate.training.task import Task
from visiongate.training.validation_metrics import TOP_FROM, measure_logits

CHANCE_AUC = 0.55  # a ROC-AUC below this tells no class from another


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one epoch gave; losses are means by image, and what is None cannot be told of this data."""

    epoch: int  # from 1
    lr: float | None  # at its end
    train_loss: float  # of the augmented images, while learning
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    val_precision: float
    val_recall: float
    val_f1: float
    val_roc_auc: float | None
    val_top3: float | None

    def score(self, monitor: Monitor) -> float:
        """Return the monitored metric, losses negated, so that more is better; minus infinity where it cannot be told."""
        value: float | None = getattr(self, monitor)
        if value is None:
            return -math.inf
        return -value if monitor == "val_loss" else value

    def better_than(self, other: "Epoch | None", monitor: Monitor) -> bool:
        """Compare by the monitored metric; equal ones are settled by the loss."""
        if other is None:
            return True
        return (self.score(monitor), -self.val_loss) > (other.score(monitor), -other.val_loss)

    def metrics(self) -> dict[str, float]:
        """Return all that can be told, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True)
class Fitted:
    """A finished training: its history, and its best epoch, whose weights the network holds."""

    history: list[Epoch]
    best: Epoch


@dataclass(frozen=True, slots=True)
class Listeners:
    """Who is told how it goes. What they raise ends the training."""

    # Takes an epoch's result, and its speed in images a second.
    on_epoch: Callable[[Epoch, float], None] = lambda _epoch, _speed: None
    # Takes how many images were learned from just now.
    on_images: Callable[[int], None] = lambda _count: None
    # Takes the epochs that a checkpoint brought.
    on_restored: Callable[[list[Epoch]], None] = lambda _history: None
    # Takes the reason why a checkpoint that is there is not continued.
    on_refused: Callable[[str], None] = lambda _reason: None


def fit(
    task: Task, model: Model, training: Training, listeners: Listeners, checkpoint: Checkpoint | None = None
) -> Fitted:
    """Train until the epochs end or patience does, and leave the best epoch's weights in the network.

    Args:
        task: The network is changed in place.
        model: The recipe.
        training: How long.
        listeners: Told of batches and epochs.
        checkpoint: Where to keep the state after each epoch, and what to continue from; None keeps none.

    Raises:
        DivergedError: The loss is no longer a number, or nothing is learned.
        SettingsError: The monitored metric does not exist for this data.
    """
    _check_monitor(training.monitor, task)
    learner = Learner(task, model, training)
    run = _Run(learner, checkpoint)
    run.restore(listeners)
    while not _is_over(run, training):
        number = len(run.history) + 1
        started = time.perf_counter()
        lr, loss, accuracy = learner.learn(number, listeners.on_images)
        speed = len(task.train) / (time.perf_counter() - started)
        _check_finite(number, loss, model)
        validated = measure_logits(predict_split(task, learner.averaged, model.batch_size), task.val.labels)
        values = {f"val_{name}": value for name, value in asdict(validated).items()}
        epoch = Epoch(epoch=number, lr=lr, train_loss=loss, train_accuracy=accuracy, **values)
        _check_finite(number, epoch.val_loss, model)
        run.add(epoch, training.monitor)
        _check_learning(run.history, task, model, training)
        listeners.on_epoch(epoch, speed)
        run.save()
    task.network.load_state_dict(run.weights)
    return Fitted(run.history, run.best or run.history[-1])


class _Run:
    """What an interrupted training must not lose: the history, the best weights so far, and the learner's state."""

    def __init__(self, learner: Learner, checkpoint: Checkpoint | None) -> None:
        self.history: list[Epoch] = []
        self.best: Epoch | None = None
        self.weights: dict[str, Tensor] = {}
        self._learner = learner
        self._checkpoint = checkpoint

    def add(self, epoch: Epoch, monitor: Monitor) -> None:
        self.history.append(epoch)
        if epoch.better_than(self.best, monitor):
            self.best = epoch
            self.weights = {
                name: value.detach().clone() for name, value in self._learner.averaged.state_dict().items()
            }

    def save(self) -> None:
        if self._checkpoint is not None and distributed.rank() == 0:
            best = None if self.best is None else self.best.epoch
            history = [asdict(epoch) for epoch in self.history]
            learner = self._learner.state()
            self._checkpoint.save(
                {"history": history, "best": best, "weights": self.weights, "learner": learner}
            )

    def restore(self, listeners: Listeners) -> None:
        state, reason = (None, None) if self._checkpoint is None else self._checkpoint.load()
        if not distributed.is_same(0 if state is None else len(state["history"])):
            state, reason = None, "not all machines have it"
        if reason is not None:
            listeners.on_refused(reason)
        if state is not None:
            self.history = [Epoch(**epoch) for epoch in state["history"]]
            self.best = self.history[state["best"] - 1]
            self.weights = state["weights"]
            self._learner.restore(state["learner"])
            listeners.on_restored(self.history)


def _is_over(run: _Run, training: Training) -> bool:
    if len(run.history) >= training.epochs:
        return True
    stale = 0 if run.best is None else len(run.history) - run.best.epoch
    return training.patience is not None and stale >= training.patience


@torch.no_grad()
def predict_split(task: Task, network: nn.Module, batch_size: int) -> Tensor:
    """Return the logits, float32 N×K, of the validation images in order; processes share the work."""
    network.eval()
    images = distributed.share(task.val.images)
    with task.hardware.autocast():
        logits = [
            network(task.hardware.arrange(task.normalize(to_pixels(chunk)))).float()
            for chunk in images.split(batch_size)
        ]
    parts = torch.cat(logits) if logits else torch.empty(0, task.classes, device=images.device)
    return distributed.gather(parts, len(task.val))


def _check_monitor(monitor: Monitor, task: Task) -> None:
    if monitor == "val_top3" and task.classes < TOP_FROM:
        raise SettingsError(
            f"training.monitor = val_top3: there are {task.classes} classes, and it takes {TOP_FROM}; val_accuracy will do"
        )
    if monitor == "val_roc_auc" and len(task.val.labels.unique()) == 1:
        raise SettingsError(
            "training.monitor = val_roc_auc: the validation images are all of one class, and it takes two; raise "
            "transformation.split.val, or choose val_loss"
        )


def _check_finite(epoch: int, loss: float, model: Model) -> None:
    if not math.isfinite(loss):
        raise DivergedError(
            f"epoch {epoch}: the loss is no longer a number: the training diverged. Lower model.lr "
            f"(now {model.lr:g}), raise model.warmup (now {model.warmup:g}), set training.gradient_clip=1, or set "
            "training.precision=fp32"
        )


def _check_learning(history: list[Epoch], task: Task, model: Model, training: Training) -> None:
    """Stop a training whose every epoch so far was no better than always naming the most frequent class."""
    if training.give_up is None or len(history) != training.give_up:
        return
    majority = float(torch.bincount(task.val.labels).max()) / len(task.val)
    if majority == 1:  # of one class alone nothing can be told
        return
    learned = any(epoch.val_accuracy > majority or (epoch.val_roc_auc or 0) > CHANCE_AUC for epoch in history)
    if not learned:
        raise DivergedError(
            f"epoch {len(history)}: nothing is learned: validation accuracy was never above {majority:.2%}, which naming "
            f"always the most frequent class gives. Change model.lr (now {model.lr:g}) tenfold up or down, look at "
            "reports/preparation for wrong labels, or set training.give_up=null to go on"
        )
