"""A small residual network: a stem, then stages of residual blocks.

Source: He et al., Deep Residual Learning for Image Recognition, 2015, section 3.

Options:
    width: Channels of the first stage; each later stage doubles them and halves the resolution.
    blocks: Number of blocks of each stage.
"""

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from visiongate.models.embedding_networks import PooledNetwork
from visiongate.models.residual_stages import make_stages


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut around both."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )
        self.activation = nn.ReLU(inplace=True)

    def forward(self, features: Tensor) -> Tensor:
        """Return N×outputs×H/stride×W/stride."""
        output: Tensor = self.activation(self.body(features) + self.shortcut(features))
        return output


class ImprovedCNN(PooledNetwork):
    """Maps normalized float images, N×C×H×W, to logits, N×K."""

    def __init__(self, channels: int, classes: int, width: int, blocks: list[int]) -> None:
        super().__init__()
        stem = [
            nn.Conv2d(channels, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        ]
        self.features = nn.Sequential(*stem, *make_stages(ResidualBlock, width, blocks))
        self.head = nn.Linear(width * 2 ** (len(blocks) - 1), classes)

    def feature_map(self, images: Tensor) -> Tensor:
        """Return the last feature map, N×D×h×w."""
        features: Tensor = self.features(images)
        return features


def build(
    channels: int,
    size: int,  # noqa: ARG001 - any size works
    classes: int,
    *,
    width: Annotated[int, Field(ge=1)] = 32,
    blocks: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1, max_length=6)] = [1, 1],  # noqa: B006 - never mutated
) -> nn.Module:
    """Return the network with random weights."""
    return ImprovedCNN(channels, classes, width, blocks)
