"""Augmentation of whole batches of tensors: what is drawn for each image and epoch, and what is then done.

All that is drawn for an image depends on the seed, the epoch and the image's place in the split, never on the batch or the
process that it lands in. So an epoch can be repeated alone, and shared among processes. Noise and mixup, which belong to a
batch, are drawn as it is made.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from visiongate.settings.schema import Augmentation
from visiongate.training.seeds import generator_for

GRAY = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow turns RGB to L


@dataclass(frozen=True, slots=True)
class Draws:
    """What was drawn for each image; every tensor has a row an image."""

    flip: Tensor  # bool
    shift: Tensor  # int64, N×2: pixels down and right
    angle: Tensor  # radians, counter-clockwise
    scale: Tensor  # above 1 enlarges
    color: Tensor  # N×3: factors of brightness, contrast and saturation
    hole: Tensor  # N×2: where the blanked square lies, from 0 to 1 down and right

    def take(self, index: Tensor, device: torch.device) -> "Draws":
        """Select the rows of a batch."""
        return Draws(*(getattr(self, name)[index].to(device) for name in self.__slots__))


class Augmenter:
    """The augmentation that the settings ask for.

    Args:
        settings: What to do, and how strongly.
        seed: Draws another course of the same augmentation.
    """

    def __init__(self, settings: Augmentation, seed: int) -> None:
        self._settings = settings
        self._seed = seed

    def draw(self, count: int, epoch: int) -> Draws:
        """Draw for all images of an epoch, on the CPU, so that it is the same for every device."""
        settings, generator = self._settings, generator_for(self._seed, "augmentation", epoch)

        def uniform(reach: float, columns: int) -> Tensor:
            return (2 * torch.rand(count, columns, generator=generator) - 1) * reach

        shift = torch.randint(-settings.shift, settings.shift + 1, (count, 2), generator=generator)
        color = [uniform(reach, 1) for reach in (settings.brightness, settings.contrast, settings.saturation)]
        return Draws(
            flip=self._flips(count, epoch),
            shift=shift,
            angle=uniform(math.radians(settings.rotation), 1)[:, 0],
            scale=1 + uniform(settings.zoom, 1)[:, 0],
            color=1 + torch.cat(color, dim=1),
            hole=torch.rand(count, 2, generator=generator),
        )

    def _flips(self, count: int, epoch: int) -> Tensor:
        """Draw which images to flip; alternating shows each image and its mirror image in turn.

        Source: K. Jordan, 94% on CIFAR-10 in 3.29 Seconds on a Single GPU, 2024, section 3.6.
        """
        if self._settings.flip == "none":
            return torch.zeros(count, dtype=torch.bool)
        alternating = self._settings.flip == "alternating"
        generator = generator_for(self._seed, "flip", 0 if alternating else epoch)
        flips = torch.rand(count, generator=generator) < 0.5  # noqa: PLR2004 - one in two
        return flips ^ bool(alternating and epoch % 2)

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        """Augment a batch.

        Args:
            images: uint8, N×H×W×C.
            draws: A row an image.

        Returns:
            Pixels from 0 to 1, float N×C×H×W in channels-last memory.
        """
        settings = self._settings
        if settings.shift or settings.flip != "none":
            images = move(images, draws.shift, draws.flip, settings)
        pixels = images.permute(0, 3, 1, 2).float() / 255
        if settings.rotation or settings.zoom:
            pixels = turn(pixels, draws.angle, draws.scale)
        if settings.brightness or settings.contrast or settings.saturation:
            pixels = recolor(pixels, draws.color)
        if settings.noise:
            pixels = (pixels + settings.noise * torch.randn_like(pixels)).clamp(0, 1)
        if settings.cutout:
            pixels = cut_out(pixels, draws.hole, settings.cutout)
        return pixels


def move(images: Tensor, shifts: Tensor, flips: Tensor, settings: Augmentation) -> Tensor:
    """Shift each image by its own whole pixels, and mirror it left to right where it is asked.

    Args:
        images: uint8, N×H×W×C.
        shifts: int64, N×2, down and right, each within ±``settings.shift``.
        flips: bool, N.
        settings: What comes in at the border.
    """
    count, height, width, _ = images.shape
    device = images.device
    rows = torch.arange(height, device=device) - shifts[:, :1]
    columns = torch.arange(width, device=device) - shifts[:, 1:]
    columns = torch.where(flips[:, None], columns.flip(1), columns)
    outside = None
    if settings.border == "black":
        outside = _beyond(rows, height)[:, :, None] | _beyond(columns, width)[:, None, :]
    rows, columns = _reflect(rows, height), _reflect(columns, width)
    moved = images[torch.arange(count, device=device)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return moved if outside is None else moved.masked_fill_(outside[..., None], 0)


def _beyond(index: Tensor, size: int) -> Tensor:
    return (index < 0) | (index >= size)


def _reflect(index: Tensor, size: int) -> Tensor:
    """Mirror what lies beyond the first and last pixel, without repeating them."""
    index = index.abs()
    return torch.where(index >= size, 2 * (size - 1) - index, index)


def turn(pixels: Tensor, angles: Tensor, scales: Tensor) -> Tensor:
    """Rotate each image about its middle and enlarge it, bilinearly; what comes in is black.

    Args:
        pixels: N×C×H×W.
        angles: N, radians, counter-clockwise.
        scales: N, above 1 enlarges.
    """
    # grid_sample asks where each pixel comes from: the inverse of what is done to the image.
    cos, sin = torch.cos(angles) / scales, torch.sin(angles) / scales
    none = torch.zeros_like(cos)
    matrices = torch.stack([torch.stack([cos, -sin, none], 1), torch.stack([sin, cos, none], 1)], 1)
    grid = functional.affine_grid(matrices, list(pixels.shape), align_corners=False)
    turned = functional.grid_sample(pixels, grid, align_corners=False)
    return turned.contiguous(memory_format=torch.channels_last)


def recolor(pixels: Tensor, factors: Tensor) -> Tensor:
    """Change brightness, contrast and saturation, in this order, as torchvision's ``ColorJitter`` understands them.

    Args:
        pixels: N×C×H×W, from 0 to 1.
        factors: N×3; 1 changes nothing.
    """
    brightness, contrast, saturation = factors[:, :, None, None, None].unbind(dim=1)
    pixels = (pixels * brightness).clamp(0, 1)
    mean = _gray(pixels).mean(dim=(1, 2, 3), keepdim=True)
    pixels = torch.lerp(mean, pixels, contrast).clamp(0, 1)
    return torch.lerp(_gray(pixels), pixels, saturation).clamp(0, 1) if pixels.shape[1] > 1 else pixels


def _gray(pixels: Tensor) -> Tensor:
    if pixels.shape[1] == 1:
        return pixels
    return (pixels * pixels.new_tensor(GRAY)[:, None, None]).sum(dim=1, keepdim=True)


def cut_out(pixels: Tensor, holes: Tensor, side: int) -> Tensor:
    """Blank a square of each image with its mean color; at the border a part of it may lie outside.

    Source: DeVries and Taylor, Improved Regularization of Convolutional Neural Networks with Cutout, 2017.

    Args:
        pixels: N×C×H×W.
        holes: N×2, from 0 to 1: the square's middle, down and right.
        side: Of the square, in pixels.
    """

    def covered(middle: Tensor, length: int) -> Tensor:
        start = (middle * length).floor()[:, None] - side // 2
        index = torch.arange(length, device=pixels.device)
        return (index >= start) & (index < start + side)

    height, width = pixels.shape[2:]
    hole = covered(holes[:, 0], height)[:, None, :, None] & covered(holes[:, 1], width)[:, None, None, :]
    return torch.where(hole, pixels.mean(dim=(2, 3), keepdim=True), pixels)


def mix_up(
    pixels: Tensor, targets: Tensor, alpha: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Mix each image and its target with those of another of the batch, all by one share.

    Source: Zhang et al., mixup: Beyond Empirical Risk Minimization, 2018.

    Args:
        pixels: N×C×H×W.
        targets: N×K, a probability a class.
        alpha: Of the beta distribution that the share is drawn from.
        generator: On the CPU.
    """
    # A beta variable as a ratio of gamma variables; `_sample_dirichlet` is the one that takes a generator.
    share = float(torch._sample_dirichlet(torch.tensor([alpha, alpha]), generator=generator)[0])  # noqa: SLF001
    order = torch.randperm(len(pixels), generator=generator).to(pixels.device)
    return torch.lerp(pixels[order], pixels, share), torch.lerp(targets[order], targets, share)


def shrink(pixels: Tensor, side: int) -> Tensor:
    """Make images smaller, bilinearly and without aliasing.

    Args:
        pixels: N×C×H×W.
        side: Height and width in pixels, at most as they are.
    """
    return functional.interpolate(pixels, size=(side, side), mode="bilinear", antialias=True)
