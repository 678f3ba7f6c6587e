"""The batches of an epoch: shuffled, augmented, normalized."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from visiongate.settings.schema import Training
from visiongate.training import distributed
from visiongate.training.augmentation import Augmenter, Draws, shrink
from visiongate.training.batches import shuffled_steps
from visiongate.training.seeds import generator_for
from visiongate.training.task import Task

AT_ONCE = 2**20  # numbers of images that are made together: as many as stay in a CPU's cache

Places = list[Tensor]  # of a step: for each of its batches, where its images lie in the split


@dataclass(frozen=True, slots=True)
class Batch:
    """Images as the network takes them, N×C×H×W, and their labels, int64 N."""

    images: Tensor
    labels: Tensor


class Feed:
    """Makes the batches that this process learns from.

    Args:
        task: Whose training split.
        training: How to augment, and the seed.
        plan: The sizes of each step's batches, over all processes; see `plan_epoch`.
    """

    def __init__(self, task: Task, training: Training, plan: list[list[int]]) -> None:
        self._task, self._training, self._plan = task, training, plan
        self._augment = Augmenter(training.augmentation, training.seed)

    def steps(self, epoch: int) -> Iterator[list[Batch]]:
        """Yield the batches of each step.

        Small images are made for several steps at once: by the batch, the calls would take longer than the work.

        Args:
            epoch: From 1.
        """
        draws = self._augment.draw(len(self._task.train), epoch)
        order = generator_for(self._training.seed, "order", epoch)
        together: list[Places] = []
        first = (epoch - 1) * len(self._plan)
        for place, batches in enumerate(shuffled_steps(self._plan, order), start=first):
            if together and (self._is_full(together) or self._side(place) != self._side(place - 1)):
                yield from self._make(together, draws, self._side(place - 1))
                together = []
            together.append([distributed.share(batch) for batch in batches])
        yield from self._make(together, draws, self._side(first + len(self._plan) - 1))

    def _is_full(self, together: list[Places]) -> bool:
        """Tell whether one more step would be too many."""
        images = sum(len(batch) for batches in together for batch in batches)
        return (images / len(together)) * (len(together) + 1) * self._task.train.images[0].numel() > AT_ONCE

    def _side(self, step: int) -> int | None:
        """Return the size to shrink images to; None leaves them."""
        small = self._training.progressive
        return small.size if step < small.until * len(self._plan) * self._training.epochs else None

    def _make(self, together: list[Places], draws: Draws, side: int | None) -> Iterator[list[Batch]]:
        sizes = [len(batch) for batches in together for batch in batches]
        places = torch.cat([batch for batches in together for batch in batches])
        device = self._task.hardware.device
        index = places.to(device)
        pixels = self._augment(self._task.train.images[index], draws.take(places, device))
        if side is not None:
            pixels = shrink(pixels, side)
        images = self._task.hardware.arrange(self._task.normalize(pixels))
        made = map(Batch, images.split(sizes), self._task.train.labels[index].split(sizes))
        for batches in together:
            yield [next(made) for _ in batches]
