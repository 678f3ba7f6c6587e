"""A network that learns small images in seconds or minutes on a CPU.

Its first layer whitens patches and is not trained. Convolutions start as the identity, batch norms learn no scale and forget
fast, and logits start small, so that few and large steps suffice.

Source: K. Jordan, 94% on CIFAR-10 in 3.29 Seconds on a Single GPU, 2024.

Options:
    patch: Pixels a side that the first layer looks at.
    stride: Of the first layer: with 2 the rest sees a quarter of the pixels, and takes a quarter of the time.
    stem: Outputs of the first layer: as many of the patches' main directions as fit, each with its opposite.
    widths: Channels of each block; every block halves the image.
"""

from itertools import pairwise
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

FORGETTING = 0.4  # share of a batch norm's statistics that each batch replaces
FLOOR = 5e-4  # added to a direction's variance: what hardly varies is noise


class SpeedCNN(nn.Module):
    """Float images, N×C×H×W, normalized, to logits, N×K."""

    def __init__(self, stem: nn.Conv2d, blocks: nn.Sequential, head: nn.Linear) -> None:
        super().__init__()
        self.stem = stem.requires_grad_(requires_grad=False)
        self.blocks = blocks
        self.head = head
        nn.init.normal_(head.weight, std=1 / head.in_features)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        features = self.blocks(functional.gelu(self.stem(images))).amax(dim=(2, 3))
        logits: Tensor = self.head(features)
        return logits

    @torch.no_grad()
    def initialize(self, images: Tensor) -> None:
        """Set the first layer, so that its outputs are uncorrelated and of equal variance.

        Args:
            images: Normalized, N×C×H×W, of the training split.
        """
        patch = self.stem.kernel_size[0]
        patches = functional.unfold(images.cpu().float(), patch, stride=patch)
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


def build(  # noqa: PLR0913 - options, all by keyword
    channels: int,
    size: int,  # noqa: ARG001 - any will do
    classes: int,
    *,
    patch: Annotated[int, Field(ge=1, le=8)] = 2,
    stride: Annotated[int, Field(ge=1, le=4)] = 1,
    stem: Annotated[int, Field(ge=2, multiple_of=2)] = 24,
    widths: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1, max_length=6)] = [64, 256, 256],  # noqa: B006 - never changed
) -> nn.Module:
    """Make the network; call `SpeedCNN.initialize` before it is trained."""
    stem = min(stem, 2 * channels * patch**2)
    whitening = nn.Conv2d(channels, stem, patch, stride, padding=(patch - stride) // 2, bias=False)
    blocks = nn.Sequential(*(Block(inputs, outputs) for inputs, outputs in pairwise([stem, *widths])))
    return SpeedCNN(whitening, blocks, nn.Linear(widths[-1], classes, bias=False))
