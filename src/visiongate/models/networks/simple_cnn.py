"""Three convolutional blocks and a hidden layer: a plain network to compare others with.

Options:
    dropout: Dropout rate after the hidden layer.
"""

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from visiongate.models.embedding_networks import EmbeddingNetwork
from visiongate.models.grid_pooling import GridPooling

WIDTHS = (32, 64, 128)
# Maximum height and width of the features that the hidden layer sees.
MAX_GRID = 4
HIDDEN = 512


class SimpleCNN(EmbeddingNetwork):
    """Maps normalized float images, N×C×H×W, to logits, N×K."""

    def __init__(self, channels: int, size: int, classes: int, dropout: float) -> None:
        super().__init__()
        widths = (channels, *WIDTHS)
        grid = min(MAX_GRID, max(size // 2 ** len(WIDTHS), 1))
        self.features = nn.Sequential(
            *(_block(inputs, outputs) for inputs, outputs in zip(widths, WIDTHS, strict=False)),
            GridPooling(grid),
        )
        self.hidden = nn.Sequential(nn.Linear(WIDTHS[-1] * grid**2, HIDDEN), nn.ReLU(), nn.Dropout(dropout))
        self.head = nn.Linear(HIDDEN, classes)

    def embed(self, images: Tensor) -> Tensor:
        """Return the embedding, N×D."""
        embedding: Tensor = self.hidden(self.features(images).flatten(1))
        return embedding


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
        nn.MaxPool2d(2),
    )


def build(
    channels: int,
    size: int,
    classes: int,
    *,
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3,
) -> nn.Module:
    """Return the network with random weights."""
    return SimpleCNN(channels, size, classes, dropout)
