"""Splits as tensors, and their division into steps and batches."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from visiongate.images.pixels import PixelSplit

# Images per batch and process: batch norm needs at least two.
MIN_BATCH = 2


@dataclass(frozen=True, slots=True)
class TensorSplit:
    """A split on its device: images uint8, N×H×W×C, and labels int64, N."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        """Count the images."""
        return len(self.labels)


def to_device(split: PixelSplit, device: torch.device) -> TensorSplit:
    """Copy a split to a device."""
    return TensorSplit(
        torch.from_numpy(split.images.copy()).to(device), torch.from_numpy(split.labels).to(device)
    )


def to_pixels(images: Tensor) -> Tensor:
    """Convert uint8 images, N×H×W×C, to floats in 0..1, N×C×H×W in channels-last memory."""
    return images.permute(0, 3, 1, 2).float() / 255


def plan_epoch(count: int, batch_size: int, accumulation: int, min_batch: int) -> list[list[int]]:
    """Return the batch sizes of each step of an epoch, which differ by at most one image.

    A last batch of a few images would have an update as large as the others, and spoil the running statistics of batch norms.

    Args:
        count: Images in the split, at least one.
        batch_size: Maximum number of images per batch; exceeded only where batches would be smaller than ``min_batch``.
        accumulation: Batches per step.
        min_batch: Minimum number of images per batch.
    """
    number = max(1, min(math.ceil(count / batch_size), count // min_batch))
    size, larger = divmod(count, number)
    sizes = [size + 1] * larger + [size] * (number - larger)
    return [sizes[start : start + accumulation] for start in range(0, len(sizes), accumulation)]


def shuffled_steps(
    plan: list[list[int]], indices: Tensor, generator: torch.Generator
) -> Iterator[list[Tensor]]:
    """Yield the image indices of each batch, step by step, with every image once and in random order.

    Args:
        plan: The batch sizes of each step.
        indices: Those of the images.
        generator: On the CPU.
    """
    order = indices[torch.randperm(len(indices), generator=generator).to(indices.device)]
    start = 0
    for sizes in plan:
        yield list(order[start : start + sum(sizes)].split(sizes))
        start += sum(sizes)
