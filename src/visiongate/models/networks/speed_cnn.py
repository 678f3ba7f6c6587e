"""A network that learns small images in seconds or minutes on a CPU.

The first layer whitens patches and is not trained. Convolutions start as the identity, batch norms have no scale and a high
momentum, and logits start small, so that a few large steps suffice.

Source: K. Jordan, 94% on CIFAR-10 in 3.29 Seconds on a Single GPU, 2024.

Options:
    patch: Kernel size of the first layer, in pixels.
    stride: Stride of the first layer; 2 quarters the pixels and the time of the other layers.
    stem: Channels of the first layer: half as many principal directions of the patches, each with its negative.
    widths: Channels of each block; each block halves the image.
    depth: Convolutions of each block. A third one, with a shortcut past the last two, pays in long trainings only.
"""

from itertools import pairwise
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from visiongate.models.embedding_networks import EmbeddingNetwork

BATCH_NORM_MOMENTUM = 0.4
# Convolutions of a block.
MIN_DEPTH, MAX_DEPTH = 2, 3
# Added to the variance of a direction, so that noise is not amplified.
MIN_VARIANCE = 5e-4


class SpeedCNN(EmbeddingNetwork):
    """Maps normalized float images, N×C×H×W, to logits, N×K."""

    def __init__(self, stem: nn.Conv2d, blocks: nn.Sequential, head: nn.Linear) -> None:
        super().__init__()
        self.stem = stem.requires_grad_(requires_grad=False)
        self.blocks = blocks
        self.head = head
        nn.init.normal_(head.weight, std=1 / head.in_features)

    def embed(self, images: Tensor) -> Tensor:
        """Return the embedding, N×D."""
        embedding: Tensor = self.blocks(functional.gelu(self.stem(images))).amax(dim=(2, 3))
        return embedding

    @torch.no_grad()
    def initialize(self, images: Tensor) -> None:
        """Set the first layer so that its outputs are uncorrelated and have equal variances.

        Args:
            images: Normalized training images, N×C×H×W.
        """
        patch = self.stem.kernel_size[0]
        patches = functional.unfold(images.cpu().float(), patch, stride=patch)
        rows = patches.transpose(1, 2).flatten(0, 1).double()
        variances, directions = torch.linalg.eigh(rows.T @ rows / len(rows))
        count = self.stem.out_channels // 2
        scaled = (
            (directions / (variances + MIN_VARIANCE).sqrt())
            .T.flip(0)[:count]
            .view(count, *self.stem.weight.shape[1:])
        )
        self.stem.weight.copy_(torch.cat([scaled, -scaled]))


class Block(nn.Module):
    """Two or three convolutions, with a max pooling after the first, and a shortcut from there past the third."""

    def __init__(self, inputs: int, outputs: int, depth: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = _convolution(inputs, outputs), _norm(outputs)
        self.conv2, self.norm2 = _convolution(outputs, outputs), _norm(outputs)
        self.has_shortcut = depth == MAX_DEPTH
        if self.has_shortcut:
            self.conv3, self.norm3 = _convolution(outputs, outputs), _norm(outputs)

    def forward(self, images: Tensor) -> Tensor:
        """Return N×outputs×H/2×W/2; an image of one pixel keeps its size."""
        size = images.shape[-1]
        if self.training and size % 2 and size > 1:
            # The pooling drops the last row and column of an odd size, so training does not compute them.
            features = functional.conv2d(functional.pad(images, (1, 0, 1, 0)), self.conv1.weight)
        else:
            features = self.conv1(images)
        if size > 1:
            features = functional.max_pool2d(features, 2)
        pooled = functional.gelu(self.norm1(features))
        features = functional.gelu(self.norm2(self.conv2(pooled)))
        if self.has_shortcut:
            features = functional.gelu(self.norm3(self.conv3(features)) + pooled)
        return features


def _convolution(inputs: int, outputs: int) -> nn.Conv2d:
    """Return a convolution that starts as the identity on the channels that inputs and outputs share."""
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    nn.init.dirac_(convolution.weight[:inputs].detach())
    return convolution


def _norm(width: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(width, momentum=BATCH_NORM_MOMENTUM)
    norm.weight.requires_grad = False
    return norm


def build(  # noqa: PLR0913 - one keyword per option
    channels: int,
    size: int,  # noqa: ARG001 - any size works
    classes: int,
    *,
    patch: Annotated[int, Field(ge=1, le=8)] = 2,
    stride: Annotated[int, Field(ge=1, le=4)] = 1,
    stem: Annotated[int, Field(ge=2, multiple_of=2)] = 24,
    widths: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1, max_length=6)] = [64, 256, 256],  # noqa: B006 - never mutated
    depth: Annotated[int, Field(ge=MIN_DEPTH, le=MAX_DEPTH)] = MIN_DEPTH,
) -> nn.Module:
    """Return the network; call `SpeedCNN.initialize` before training it."""
    stem = min(stem, 2 * channels * patch**2)
    whitening = nn.Conv2d(channels, stem, patch, stride, padding=max(0, patch - stride) // 2, bias=False)
    blocks = nn.Sequential(*(Block(inputs, outputs, depth) for inputs, outputs in pairwise([stem, *widths])))
    return SpeedCNN(whitening, blocks, nn.Linear(widths[-1], classes, bias=False))
