"""Whole batches of tensors, gathered and augmented at once: no loader processes, no work by the image."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from visiongate.data.pixels import PixelSplit


@dataclass(frozen=True, slots=True)
class Tensors:
    """A split on its device: images uint8, N×H×W×C, and labels int64, N."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        """Count the images."""
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class Normalisation:
    """Mean and standard deviation of each channel, pixels taken as 0..1, shaped 1×C×1×1."""

    mean: Tensor
    std: Tensor

    def __call__(self, images: Tensor) -> Tensor:
        """Turn uint8 N×H×W×C into float N×C×H×W in channels-last memory, which is the layout the pixels already have."""
        return (images.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std


def to_device(split: PixelSplit, device: torch.device) -> Tensors:
    """Copy a split to a device."""
    return Tensors(
        torch.from_numpy(split.images.copy()).to(device), torch.from_numpy(split.labels).to(device)
    )


def shuffled_batches(
    data: Tensors, batch_size: int, max_shift: int, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the images of one epoch once each, in random order, shifted at random.

    The last batch is smaller when the number does not divide; one of a single image is joined to the batch before it, for batch
    norm cannot learn from one.

    Args:
        data: The training split.
        batch_size: Images a batch.
        max_shift: Pixels, in each direction; what comes in at the border is black.
        generator: On the CPU, so that the order is the same on every device.
    """
    order = torch.randperm(len(data), generator=generator)
    shifts = torch.randint(-max_shift, max_shift + 1, (len(data), 2), generator=generator)
    chunks = list(order.split(batch_size))
    if len(chunks) > 1 and len(chunks[-1]) == 1:
        chunks[-2:] = [torch.cat(chunks[-2:])]
    for chunk in chunks:
        index = chunk.to(data.labels.device)
        images = data.images[index]
        if max_shift:
            images = shift(images, shifts[chunk].to(images.device), max_shift)
        yield images, data.labels[index]


def shift(images: Tensor, shifts: Tensor, max_shift: int) -> Tensor:
    """Shift each image by its own whole pixels, filling with black.

    Args:
        images: N×H×W×C.
        shifts: int64, N×2, down and right, each within ±``max_shift``.
        max_shift: Pixels.
    """
    count, height, width, _ = images.shape
    padded = torch.nn.functional.pad(images, (0, 0, max_shift, max_shift, max_shift, max_shift))
    device = images.device
    rows = torch.arange(height, device=device) + max_shift - shifts[:, :1]
    columns = torch.arange(width, device=device) + max_shift - shifts[:, 1:]
    return padded[torch.arange(count, device=device)[:, None, None], rows[:, :, None], columns[:, None, :]]
