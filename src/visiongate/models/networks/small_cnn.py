"""A small CNN for small images: three convolutions with batch norm, one max pooling, a global average pooling.

Options:
    width: Channels of the first convolution; the others have twice as many.
    dropout: Dropout rate before the linear layer.
"""

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from visiongate.models.embedding_networks import PooledNetwork


class SmallCNN(PooledNetwork):
    """Maps normalized float images, N×C×H×W, to logits, N×K."""

    def __init__(self, channels: int, classes: int, width: int, dropout: float) -> None:
        super().__init__(dropout)
        self.features = nn.Sequential(
            _block(channels, width),
            _block(width, 2 * width),
            nn.MaxPool2d(2),
            _block(2 * width, 2 * width),
        )
        self.head = nn.Linear(2 * width, classes)

    def feature_map(self, images: Tensor) -> Tensor:
        """Return the last feature map, N×D×h×w."""
        features: Tensor = self.features(images)
        return features


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


def build(
    channels: int,
    size: int,  # noqa: ARG001 - any size works
    classes: int,
    *,
    width: Annotated[int, Field(ge=1)] = 32,
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1,
) -> nn.Module:
    """Return the network with random weights."""
    return SmallCNN(channels, classes, width, dropout)
