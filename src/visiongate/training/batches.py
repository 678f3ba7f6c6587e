"""Whole batches of tensors, gathered at once: no loader processes, no work by the image."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from visiongate.images.pixels import PixelSplit

LEAST = 2  # images of a batch in each process: batch norm cannot learn from one


@dataclass(frozen=True, slots=True)
class Tensors:
    """A split on its device: images uint8, N×H×W×C, and labels int64, N."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        """Count the images."""
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class Normalization:
    """Mean and standard deviation of each channel, pixels taken as 0..1, shaped 1×C×1×1."""

    mean: Tensor
    std: Tensor

    def __call__(self, pixels: Tensor) -> Tensor:
        """Center and scale pixels, N×C×H×W."""
        return (pixels - self.mean) / self.std


def to_device(split: PixelSplit, device: torch.device) -> Tensors:
    """Copy a split to a device."""
    return Tensors(
        torch.from_numpy(split.images.copy()).to(device), torch.from_numpy(split.labels).to(device)
    )


def to_pixels(images: Tensor) -> Tensor:
    """Turn uint8 N×H×W×C into 0..1, float N×C×H×W in channels-last memory, which is the layout that the images already have."""
    return images.permute(0, 3, 1, 2).float() / 255


def plan_epoch(count: int, batch_size: int, accumulation: int, least: int) -> list[list[int]]:
    """Divide an epoch into steps, and each step into the sizes of its batches.

    The last step is smaller when the number does not divide. A batch of fewer than ``least`` images is joined to the one before
    it: batch norm cannot learn from a single image, nor can processes share one.

    Args:
        count: Images in the split.
        batch_size: Images that pass through the network at once.
        accumulation: Batches a step.
        least: Images a batch.
    """
    sizes = [batch_size] * (count // batch_size) + ([count % batch_size] if count % batch_size else [])
    while len(sizes) > 1 and sizes[-1] < least:
        sizes[-2:] = [sum(sizes[-2:])]
    return [sizes[start : start + accumulation] for start in range(0, len(sizes), accumulation)]


def shuffled_steps(plan: list[list[int]], generator: torch.Generator) -> Iterator[list[Tensor]]:
    """Yield the steps of an epoch, each a list of batches of images' places: every image once, in random order."""
    order = torch.randperm(sum(map(sum, plan)), generator=generator)
    start = 0
    for sizes in plan:
        yield list(order[start : start + sum(sizes)].split(sizes))
        start += sum(sizes)
