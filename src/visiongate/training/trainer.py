"""Update a network's weights, epoch by epoch."""

import itertools
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from visiongate.errors import SettingsError
from visiongate.settings.model import Model
from visiongate.settings.training import Training
from visiongate.training import distributed
from visiongate.training.augmentation import mix_up
from visiongate.training.averaging import WeightAverage
from visiongate.training.batch_loader import Batch, BatchLoader
from visiongate.training.batches import MIN_BATCH, plan_epoch
from visiongate.training.checkpoint import State, optimizer_state, restore_optimizer
from visiongate.training.image_selection import ImageSelection, images_per_epoch
from visiongate.training.loss_scaling import LossScaler
from visiongate.training.losses import Loss
from visiongate.training.optimizers import BackboneFreezer, make_optimizers
from visiongate.training.schedule import Schedule
from visiongate.training.seeds import generator_for, seed_for
from visiongate.training.task import Task

# Steps between checks that the loss is finite; each check waits for the device.
CHECK_INTERVAL = 50


class Trainer:
    """Trains a network by a recipe.

    Args:
        task: Its network is trained in place.
        model: ``model`` of the settings.
        training: ``training`` of the settings.

    Raises:
        SettingsError: The batch size is too small, an epoch has too few images, or `make_optimizers` rejects the learning
            rates.
    """

    def __init__(self, task: Task, model: Model, training: Training) -> None:
        self._task, self._training = task, training
        self._loss = Loss(training, task.train.labels, task.classes)
        min_batch = MIN_BATCH * distributed.world_size()
        if model.batch_size < min_batch:
            raise SettingsError(
                f"params.yaml: model.batch_size = {model.batch_size} is invalid: must be at least {min_batch}, because batch "
                f"norm needs {MIN_BATCH} images per process"
            )
        self.images_per_epoch = images_per_epoch(len(task.train), training)
        if self.images_per_epoch < min_batch <= len(task.train):
            raise SettingsError(
                f"params.yaml: training.skip_easy = {training.skip_easy:g} leaves too few of {len(task.train)} training images "
                f"in an epoch: {self.images_per_epoch}; at least {min_batch} are needed, because batch norm needs {MIN_BATCH} "
                "images per process"
            )
        self._plan = plan_epoch(self.images_per_epoch, model.batch_size, training.accumulation, min_batch)
        self._selection = ImageSelection(len(task.train), training, task.hardware.device)
        self._loader = BatchLoader(task, training, self._plan)
        self._optimizers = make_optimizers(task.network, model)
        self._freezer = BackboneFreezer(task.network, model)
        self._schedule = Schedule(self._optimizers, model, len(self._plan) * training.epochs)
        self._parallel = distributed.parallelize(task.network)
        self._scaler = LossScaler(task.network, task.hardware)
        self._average = None if training.ema is None else WeightAverage(task.network, training.ema)

    @property
    def averaged(self) -> nn.Module:
        """The network to validate and keep: the weight average if there is one."""
        return self._task.network if self._average is None else self._average.module

    def train_epoch(self, epoch: int, on_images: Callable[[int], None]) -> tuple[float, float, float]:
        """Train on every chosen image once.

        Args:
            epoch: From 1.
            on_images: Called after each step with its number of images.

        Returns:
            The last learning rate, and the mean loss and accuracy per image. If the loss becomes NaN or infinite, the epoch
            ends early with that loss.
        """
        seed = self._training.seed
        # Dropout draws from the global generator.
        torch.manual_seed(seed_for(seed, "network", epoch, distributed.rank()))
        mixup = generator_for(seed, "mixup", epoch, distributed.rank())
        if self._freezer.set_epoch(epoch):
            # The wrapper notes when it is made which parameters have gradients.
            self._parallel = distributed.parallelize(self._task.network)
        self._parallel.train()
        # The sums stay on the device, because reading a number at each step would wait for it.
        sums = torch.zeros(2, device=self._task.hardware.device)
        lr = 0.0
        for index, batches in enumerate(self._loader.steps(epoch, self._selection.choose(epoch))):
            lr = self._schedule.set_step((epoch - 1) * len(self._plan) + index)
            images = sum(self._plan[index])
            sums += self._step(batches, images, mixup)
            on_images(images)
            # All processes must stop at the same step, or the others would wait forever.
            if index % CHECK_INTERVAL == 0 and not self._is_finite(sums):
                break
        for network in dict.fromkeys((self._task.network, self.averaged)):
            distributed.broadcast_buffers(network)
        self._selection.finish_epoch()
        loss, accuracy = (distributed.sum_over_processes(sums) / self.images_per_epoch).tolist()
        return lr, loss, accuracy

    def try_factors(self, factors: Iterable[float]) -> Iterator[float]:
        """Take one step for each multiple of the learning rates, in epochs like the first; see `lr_range`.

        Yields:
            The mean loss per image before each step.
        """
        mixup = generator_for(self._training.seed, "mixup", 1)
        self._freezer.set_epoch(1)
        self._parallel.train()
        epochs = (
            enumerate(self._loader.steps(epoch, self._selection.choose(epoch)))
            for epoch in itertools.count(1)
        )
        for factor, (index, batches) in zip(factors, itertools.chain.from_iterable(epochs), strict=False):
            self._schedule.set_factor(factor)
            images = sum(self._plan[index])
            yield self._step(batches, images, mixup)[0].item() / images

    def _is_finite(self, sums: Tensor) -> bool:
        return bool(torch.isfinite(distributed.sum_over_processes(sums.clone())[0]))

    def _step(self, batches: list[Batch], images: int, mixup: torch.Generator) -> Tensor:
        """Take one step over the batches of ``images`` images in all processes; return the summed loss and hits."""
        self._task.network.zero_grad(set_to_none=True)
        sums = torch.zeros(2, device=self._task.hardware.device)
        for batch in batches:
            loss, hits = self._compute_loss(batch, mixup)
            # Gradients are averaged over processes and losses are sums, so this gives the mean over all images of the step.
            self._scaler.scale(loss * (distributed.world_size() / images)).backward()
            sums += torch.stack([loss.detach(), hits])
        if self._scaler.unscale():
            self._update_weights()
        # A loss whose gradients overflow at any scale ends the training as an infinite loss does.
        return torch.full_like(sums, torch.nan) if self._scaler.is_exhausted else sums

    def _update_weights(self) -> None:
        if self._training.gradient_clip is not None:
            nn.utils.clip_grad_norm_(self._task.network.parameters(), self._training.gradient_clip)
        for optimizer in self._optimizers:
            optimizer.step()
        if self._average is not None:
            self._average.update(self._task.network)

    def _compute_loss(self, batch: Batch, mixup: torch.Generator) -> tuple[Tensor, Tensor]:
        images, targets = batch.images, batch.labels
        alpha = self._training.augmentation.mixup
        if alpha:
            targets = functional.one_hot(targets, self._task.classes).float()
            images, targets = mix_up(images, targets, alpha, mixup)
        with self._task.hardware.autocast():
            logits = self._parallel(images).float()
        self._selection.record(batch.indices, logits, targets)
        return self._loss(logits, targets), (logits.argmax(dim=1) == batch.labels).sum().float()

    def state(self) -> State:
        """Return everything that the next epoch depends on, except its number."""
        average = {} if self._average is None else self._average.state_dict()
        optimizers = [optimizer_state(optimizer) for optimizer in self._optimizers]
        return {
            "network": self._task.network.state_dict(),
            "average": average,
            "optimizers": optimizers,
            "loss_scale": self._scaler.state(),
            "selection": self._selection.state(),
        }

    def restore(self, state: State) -> None:
        """Restore what `state` returned."""
        self._task.network.load_state_dict(state["network"])
        if self._average is not None:
            self._average.load_state_dict(state["average"])
        for optimizer, saved in zip(self._optimizers, state["optimizers"], strict=True):
            restore_optimizer(optimizer, saved)
        self._scaler.restore(state["loss_scale"])
        self._selection.restore(state["selection"])
