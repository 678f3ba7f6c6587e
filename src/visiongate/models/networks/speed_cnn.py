"""A network that learns small images in seconds or minutes on a CPU.

Its first layer whitens patches and is not trained; the rest sees a quarter of the pixels. Convolutions start as the identity,
batch norms learn no scale and forget fast, and logits start small, so that few and large steps suffice.

Source: K. Jordan, 94% on CIFAR-10 in 3.29 Seconds on a Single GPU, 2024; here the first layer has a stride, which suits CPUs.

Options:
    stem: Outputs of the first layer: as many of the patches' main directions as fit, each with its opposite.
    widths: Channels of each block; every block halves the image.
"""

from itertools import pairwise
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

PATCH, STRIDE = 4, 2
FORGETTING = 0.4  # share of a batch norm's statistics that each batch replaces
FLOOR = 5e-4  # added to a direction's variance: what hardly varies is noise


class SpeedCNN(nn.Module):
    """Float images, N×C×H×W, normalised, to logits, N×K."""

    def __init__(self, channels: int, classes: int, stem: int, blocks: nn.Sequential, width: int) -> None:
        super().__init__()
        directions = channels * PATCH**2
        self.stem = nn.Conv2d(channels, min(stem, 2 * directions), PATCH, STRIDE, padding=1, bias=False)
        self.stem.requires_grad_(requires_grad=False)
        self.blocks = blocks
        self.head = nn.Linear(width, classes, bias=False)
        nn.init.normal_(self.head.weight)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        features = self.blocks(functional.gelu(self.stem(images))).amax(dim=(2, 3))
        logits: Tensor = self.head(features) / features.shape[1]
        return logits

    @torch.no_grad()
    def initialise(self, images: Tensor) -> None:
        """Set the first layer, so that its outputs are uncorrelated and of equal variance.

        Args:
            images: Normalised, N×C×H×W, of the training split.
        """
        patches = functional.unfold(images.cpu().float(), PATCH, stride=PATCH)
        rows = patches.transpose(1, 2).flatten(0, 1).double()
        variances, directions = torch.linalg.eigh(rows.T @ rows / len(rows))
        kept = self.stem.out_channels // 2
        scaled = (
            (directions / (variances + FLOOR).sqrt()).T.flip(0)[:kept].view(kept, *self.stem.weight.shape[1:])
        )
        self.stem.weight.copy_(torch.cat([scaled, -scaled]))


class Block(nn.Module):
    """Two convolutions, the image halved after the first."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = _convolution(inputs, outputs), _norm(outputs)
        self.conv2, self.norm2 = _convolution(outputs, outputs), _norm(outputs)

    def forward(self, images: Tensor) -> Tensor:
        """Return N×outputs×H/2×W/2; what is one pixel wide stays so."""
        features = self.conv1(images)
        if features.shape[-1] > 1:
            features = functional.max_pool2d(features, 2)
        features = self.conv2(functional.gelu(self.norm1(features)))
        return functional.gelu(self.norm2(features))


def _convolution(inputs: int, outputs: int) -> nn.Conv2d:
    """Make a convolution that starts as the identity on as many channels as it has of both."""
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    nn.init.dirac_(convolution.weight[:inputs].detach())
    return convolution


def _norm(width: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(width, momentum=FORGETTING)
    norm.weight.requires_grad = False
    return norm


def build(
    channels: int,
    size: int,  # noqa: ARG001 - any will do
    classes: int,
    *,
    stem: Annotated[int, Field(ge=2, multiple_of=2)] = 96,
    widths: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1, max_length=6)] = [64, 256, 256],  # noqa: B006 - never changed
) -> nn.Module:
    """Make the network; call `SpeedCNN.initialise` before it is trained."""
    stem = min(stem, 2 * channels * PATCH**2)
    blocks = nn.Sequential(*(Block(inputs, outputs) for inputs, outputs in pairwise([stem, *widths])))
    return SpeedCNN(channels, classes, stem, blocks, widths[-1])
