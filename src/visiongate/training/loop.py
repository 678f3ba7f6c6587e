"""The training loop: fit a network, validate after each epoch, keep the best."""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from visiongate.config import Model, Training
from visiongate.errors import DivergedError
from visiongate.training.batches import Normalisation, Tensors, shuffled_batches
from visiongate.training.hardware import Hardware
from visiongate.training.recipe import make_optimizer, make_schedule


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one epoch gave; losses are means by image."""

    epoch: int  # from 1
    lr: float  # at its end
    train_loss: float
    train_accuracy: float  # of the shifted images, while learning
    val_loss: float
    val_accuracy: float

    def better_than(self, other: "Epoch | None", monitor: str) -> bool:
        """Compare by the monitored metric; equal accuracies are settled by the loss."""
        if other is None:
            return True
        if monitor == "val_accuracy" and self.val_accuracy != other.val_accuracy:
            return self.val_accuracy > other.val_accuracy
        return self.val_loss < other.val_loss


@dataclass(frozen=True, slots=True)
class Task:
    """What to fit, on what, in which precision."""

    network: nn.Module
    train: Tensors
    val: Tensors
    normalise: Normalisation
    hardware: Hardware


@dataclass(frozen=True, slots=True)
class Fitted:
    """A finished training: its history, and its best epoch, whose weights the network holds."""

    history: list[Epoch]
    best: Epoch


def fit(task: Task, model: Model, training: Training, on_epoch: Callable[[Epoch, float], None]) -> Fitted:
    """Train until the epochs end or patience does, and leave the best epoch's weights in the network.

    Args:
        task: The network is changed in place.
        model: The recipe.
        training: How long.
        on_epoch: Called after each epoch with its result and its speed in images a second; what it raises ends the training.

    Raises:
        DivergedError: The loss is no longer a number.
    """
    optimizer = make_optimizer(task.network, model)
    steps = training.epochs * math.ceil(len(task.train) / model.batch_size)
    schedule = make_schedule(optimizer, model, steps)
    generator = torch.Generator().manual_seed(training.seed)
    history: list[Epoch] = []
    best: Epoch | None = None
    weights: dict[str, Tensor] = {}
    for number in range(1, training.epochs + 1):
        started = time.perf_counter()
        loss, accuracy = _train_epoch(task, model, training, (optimizer, schedule, generator))
        speed = len(task.train) / (time.perf_counter() - started)
        lr = float(schedule.get_last_lr()[0])
        epoch = Epoch(number, lr, loss, accuracy, *validate(task, model.batch_size))
        _check_finite(epoch, model)
        history.append(epoch)
        if epoch.better_than(best, training.monitor):
            best, weights = epoch, copy.deepcopy(task.network.state_dict())
        on_epoch(epoch, speed)
        if training.patience is not None and best is not None and number - best.epoch >= training.patience:
            break
    task.network.load_state_dict(weights)
    return Fitted(history, best or history[-1])


def validate(task: Task, batch_size: int) -> tuple[float, float]:
    """Return the mean cross-entropy and the accuracy on the validation split."""
    logits = predict_logits(task, task.val, batch_size)
    loss = functional.cross_entropy(logits, task.val.labels).item()
    return loss, (logits.argmax(dim=1) == task.val.labels).double().mean().item()


@torch.no_grad()
def predict_logits(task: Task, data: Tensors, batch_size: int) -> Tensor:
    """Return the logits, float32 N×K, of all images in order."""
    task.network.eval()
    with task.hardware.autocast():
        logits = [task.network(task.normalise(chunk)) for chunk in data.images.split(batch_size)]
    return torch.cat(logits).float()


def _train_epoch(
    task: Task,
    model: Model,
    training: Training,
    moving: tuple[Optimizer, LambdaLR, torch.Generator],
) -> tuple[float, float]:
    """Learn from every image once; return the mean loss and accuracy."""
    optimizer, schedule, generator = moving
    task.network.train()
    # Summed on the device: reading a number back at each step would wait for it.
    total = torch.zeros(2, device=task.hardware.device)
    for images, labels in shuffled_batches(task.train, model.batch_size, training.max_shift, generator):
        with task.hardware.autocast():
            logits = task.network(task.normalise(images))
        loss = functional.cross_entropy(logits.float(), labels, label_smoothing=training.label_smoothing)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        hits = (logits.argmax(dim=1) == labels).sum()
        total += torch.stack([loss.detach() * len(labels), hits.float()])
    mean_loss, accuracy = (total / len(task.train)).tolist()
    return mean_loss, accuracy


def _check_finite(epoch: Epoch, model: Model) -> None:
    if not (math.isfinite(epoch.train_loss) and math.isfinite(epoch.val_loss)):
        raise DivergedError(
            f"epoch {epoch.epoch}: the loss is no longer a number: the training diverged. Lower model.lr "
            f"(now {model.lr:g}), raise model.warmup (now {model.warmup:g}), or set training.precision=fp32"
        )
