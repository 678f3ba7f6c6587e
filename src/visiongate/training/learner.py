"""What training moves: the network's weights, its optimizers and the weights' average, epoch by epoch."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from visiongate.errors import SettingsError
from visiongate.settings.schema import Model, Training
from visiongate.training import distributed
from visiongate.training.augmentation import mix_up
from visiongate.training.averaging import average_weights
from visiongate.training.batches import LEAST, plan_epoch
from visiongate.training.checkpoint import Tree, optimizer_state, restore_optimizer
from visiongate.training.feed import Batch, Feed
from visiongate.training.losses import Loss
from visiongate.training.recipe import Schedule, make_optimizers
from visiongate.training.seeds import generator_for, seed_for
from visiongate.training.task import Task

CHECK_EVERY = 50  # steps, between two looks at whether the loss is still a number: each waits for the device


class Learner:
    """A network that learns by a recipe.

    Args:
        task: Its network is changed in place.
        model: The recipe.
        training: The rest of it.

    Raises:
        SettingsError: The batches are too small, or `make_optimizers` finds fault with the rates.
    """

    def __init__(self, task: Task, model: Model, training: Training) -> None:
        self._task, self._training = task, training
        self._loss = Loss(training, task.train.labels, task.classes)
        least = LEAST * distributed.size()
        if model.batch_size < least:
            raise SettingsError(
                f"model.batch_size = {model.batch_size}: must be at least {least}, {LEAST} for each process: batch norm cannot "
                "learn from one image"
            )
        self._plan = plan_epoch(len(task.train), model.batch_size, training.accumulation, least)
        self._feed = Feed(task, training, self._plan)
        self._optimizers = make_optimizers(task.network, model)
        self._schedule = Schedule(self._optimizers, model, len(self._plan) * training.epochs)
        self._parallel = distributed.average_gradients(task.network)
        self._average = None if training.ema is None else average_weights(task.network, training.ema)

    @property
    def averaged(self) -> nn.Module:
        """The network to validate and keep: the average if there is one."""
        return self._task.network if self._average is None else self._average.module

    def learn(self, epoch: int, on_images: Callable[[int], None]) -> tuple[float, float, float]:
        """Learn from every image once.

        Args:
            epoch: From 1.
            on_images: Told after each step from how many images it learned.

        Returns:
            The last learning rate, and the mean loss and accuracy by image; the loss is NaN, and the epoch cut short, where it
            ceased to be a number.
        """
        seed = self._training.seed
        torch.manual_seed(seed_for(seed, "network", epoch, distributed.rank()))  # dropout's, say
        mixer = generator_for(seed, "mixup", epoch, distributed.rank())
        self._parallel.train()
        # Summed on the device: reading a number back at each step would wait for it.
        total = torch.zeros(2, device=self._task.hardware.device)
        lr = 0.0
        for place, batches in enumerate(self._feed.steps(epoch)):
            lr = self._schedule.set_step((epoch - 1) * len(self._plan) + place)
            images = sum(self._plan[place])
            total += self._step(batches, images, mixer)
            on_images(images)
            # All processes must stop at the same step, or the others wait for ever.
            if place % CHECK_EVERY == 0 and not torch.isfinite(distributed.total(total.clone())[0]):
                break
        for network in dict.fromkeys((self._task.network, self.averaged)):
            distributed.share_buffers(network)
        mean_loss, accuracy = (distributed.total(total) / len(self._task.train)).tolist()
        return lr, mean_loss, accuracy

    def _step(self, batches: list[Batch], images: int, mixer: torch.Generator) -> Tensor:
        """Learn from the batches of one step, of so many images over all processes; return their summed loss and hits."""
        self._task.network.zero_grad(set_to_none=True)
        total = torch.zeros(2, device=self._task.hardware.device)
        for batch in batches:
            loss, hits = self._compute_loss(batch, mixer)
            # Gradients are averaged over processes, and losses are sums: so the step sees the mean over all its images.
            (loss * (distributed.size() / images)).backward()
            total += torch.stack([loss.detach(), hits])
        if self._training.gradient_clip is not None:
            nn.utils.clip_grad_norm_(self._task.network.parameters(), self._training.gradient_clip)
        for optimizer in self._optimizers:
            optimizer.step()
        if self._average is not None:
            self._average.update_parameters(self._task.network)
        return total

    def _compute_loss(self, batch: Batch, mixer: torch.Generator) -> tuple[Tensor, Tensor]:
        images, targets = batch.images, batch.labels
        alpha = self._training.augmentation.mixup
        if alpha:
            targets = functional.one_hot(targets, self._task.classes).float()
            images, targets = mix_up(images, targets, alpha, mixer)
        with self._task.hardware.autocast():
            logits = self._parallel(images).float()
        return self._loss(logits, targets), (logits.argmax(dim=1) == batch.labels).sum().float()

    def state(self) -> Tree:
        """Return all that the next epoch depends on, but for the epoch's number."""
        average = {} if self._average is None else self._average.state_dict()
        optimizers = [optimizer_state(optimizer) for optimizer in self._optimizers]
        return {"network": self._task.network.state_dict(), "average": average, "optimizers": optimizers}

    def restore(self, state: Tree) -> None:
        """Undo `state`."""
        self._task.network.load_state_dict(state["network"])
        if self._average is not None:
            self._average.load_state_dict(state["average"])
        for optimizer, remembered in zip(self._optimizers, state["optimizers"], strict=True):
            restore_optimizer(optimizer, remembered)
