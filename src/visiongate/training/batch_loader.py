"""The batches of an epoch: shuffled, augmented and normalized."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from visiongate.settings.training import Training
from visiongate.training import distributed
from visiongate.training.augmentation import AugmentationParameters, Augmenter, shrink
from visiongate.training.batches import shuffled_steps
from visiongate.training.seeds import generator_for
from visiongate.training.task import Task

# Pixel values that are augmented together: as many as fit into a CPU's cache.
CPU_GROUP_VALUES = 2**20
# A GPU takes longer to start an operator than to run it on the pixels of one step.
GPU_GROUP_VALUES = 2**24

# The image indices of each batch of a step.
Step = list[Tensor]


@dataclass(frozen=True, slots=True)
class Batch:
    """Normalized images, N×C×H×W, their labels and their indices in the training split, int64 N."""

    images: Tensor
    labels: Tensor
    indices: Tensor


class BatchLoader:
    """Makes the batches of this process.

    Args:
        task: Contains the training split.
        training: States augmentation and seed.
        plan: The batch sizes of each step over all processes; see `plan_epoch`.
    """

    def __init__(self, task: Task, training: Training, plan: list[list[int]]) -> None:
        self._task, self._training, self._plan = task, training, plan
        self._augment = Augmenter(training.augmentation, training.seed)

    def steps(self, epoch: int, chosen: Tensor) -> Iterator[list[Batch]]:
        """Yield the batches of each step.

        Small images are augmented for several steps at once, because calls per batch would take longer than the computation.
        What the steps need is copied to the device at the start of the epoch, because each copy waits for the device.

        Args:
            epoch: From 1.
            chosen: The indices of its images.
        """
        device = self._task.hardware.device
        parameters = self._augment.draw(len(self._task.train), epoch).to(device)
        order = generator_for(self._training.seed, "order", epoch)
        first = (epoch - 1) * len(self._plan)
        group: list[Step] = []
        for index, batches in enumerate(shuffled_steps(self._plan, chosen, order), start=first):
            if group and (self._is_full(group) or self._side(index) != self._side(index - 1)):
                yield from self._make(group, parameters, self._side(index - 1))
                group = []
            group.append([distributed.local_part(batch) for batch in batches])
        yield from self._make(group, parameters, self._side(first + len(self._plan) - 1))

    def _is_full(self, group: list[Step]) -> bool:
        """Return whether one more step would be too large to be augmented with the others."""
        images = sum(len(batch) for batches in group for batch in batches)
        values = self._task.train.images[0].numel()
        limit = CPU_GROUP_VALUES if self._task.hardware.device.type == "cpu" else GPU_GROUP_VALUES
        return (images / len(group)) * (len(group) + 1) * values > limit

    def _side(self, step: int) -> int | None:
        """Return the size to shrink images to at a step, or None."""
        progressive = self._training.progressive
        steps = len(self._plan) * self._training.epochs
        return progressive.size if step < progressive.until * steps else None

    def _make(
        self, group: list[Step], parameters: AugmentationParameters, side: int | None
    ) -> Iterator[list[Batch]]:
        sizes = [len(batch) for batches in group for batch in batches]
        indices = torch.cat([batch for batches in group for batch in batches])
        pixels = self._augment(self._task.train.images[indices], parameters.take(indices))
        if side is not None:
            pixels = shrink(pixels, side)
        images = self._task.normalize(pixels).contiguous(memory_format=torch.channels_last)
        labels = self._task.train.labels[indices]
        made = map(Batch, images.split(sizes), labels.split(sizes), indices.split(sizes))
        for batches in group:
            yield [next(made) for _ in batches]
