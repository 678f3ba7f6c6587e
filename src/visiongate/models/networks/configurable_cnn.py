"""A CNN with configurable depth and widths: convolutions that each halve the image, then hidden layers.

Options:
    filters: Output channels of each convolution.
    hidden: Units of each hidden layer.
    dropout: Dropout rate after each hidden layer.
    batch_norm: Whether each convolution is followed by batch norm.
"""

from itertools import pairwise
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from visiongate.models.embedding_networks import EmbeddingNetwork
from visiongate.models.grid_pooling import GridPooling

# Maximum height and width of the features that the hidden layers see.
MAX_GRID = 3

Widths = Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1, max_length=8)]


class ConfigurableCNN(EmbeddingNetwork):
    """Maps normalized float images, N×C×H×W, to logits, N×K."""

    def __init__(self, features: nn.Module, hidden: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.features = features
        self.hidden = hidden
        self.head = head

    def embed(self, images: Tensor) -> Tensor:
        """Return the embedding, N×D."""
        embedding: Tensor = self.hidden(self.features(images).flatten(1))
        return embedding


def _convolution(inputs: int, outputs: int, *, batch_norm: bool, halve: bool) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=not batch_norm),
        nn.BatchNorm2d(outputs) if batch_norm else nn.Identity(),
        nn.ReLU(),
        nn.MaxPool2d(2) if halve else nn.Identity(),
    )


def build(  # noqa: PLR0913 - one keyword per option
    channels: int,
    size: int,
    classes: int,
    *,
    filters: Widths = [32, 64, 128],  # noqa: B006 - never mutated
    hidden: Widths = [256, 128],  # noqa: B006 - never mutated
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3,
    batch_norm: bool = True,
) -> nn.Module:
    """Return the network with random weights."""
    sides = [size // 2**depth for depth in range(len(filters) + 1)]
    grid = min(MAX_GRID, max(sides[-1], 1))
    features = [
        # One pixel cannot be halved.
        _convolution(inputs, outputs, batch_norm=batch_norm, halve=side > 1)
        for (inputs, outputs), side in zip(pairwise([channels, *filters]), sides, strict=False)
    ]
    layers = [
        nn.Sequential(nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(dropout))
        for inputs, outputs in pairwise([filters[-1] * grid**2, *hidden])
    ]
    return ConfigurableCNN(
        nn.Sequential(*features, GridPooling(grid)),
        nn.Sequential(*layers),
        nn.Linear(hidden[-1], classes),
    )
