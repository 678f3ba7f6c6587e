"""A residual network with pre-activation, for images of at least 32 pixels a side.

Source: He et al., Identity Mappings in Deep Residual Networks, 2016.

Options:
    width: Channels of the first stage; each later stage doubles them and halves the resolution.
    blocks: Number of blocks of each stage.
"""

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from visiongate.models.embedding_networks import PooledNetwork
from visiongate.models.residual_stages import make_stages


class PreactBlock(nn.Module):
    """Two convolutions, each after batch norm and ReLU, and a shortcut around both."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        changes_shape = stride > 1 or inputs != outputs
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if changes_shape else None

    def forward(self, images: Tensor) -> Tensor:
        """Return N×outputs×H/stride×W/stride."""
        active = functional.relu(self.norm1(images))
        shortcut = images if self.shortcut is None else self.shortcut(active)
        residual: Tensor = self.conv2(functional.relu(self.norm2(self.conv1(active))))
        return shortcut + residual


class PreactResNet(PooledNetwork):
    """Maps normalized float images, N×C×H×W, to logits, N×K."""

    def __init__(self, channels: int, classes: int, width: int, blocks: list[int]) -> None:
        super().__init__()
        stem = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        last = width * 2 ** (len(blocks) - 1)
        stages = make_stages(PreactBlock, width, blocks)
        self.features = nn.Sequential(stem, *stages, nn.BatchNorm2d(last), nn.ReLU())
        self.head = nn.Linear(last, classes)

    def feature_map(self, images: Tensor) -> Tensor:
        """Return the last feature map, N×D×h×w."""
        features: Tensor = self.features(images)
        return features


def build(
    channels: int,
    size: int,  # noqa: ARG001 - any size works
    classes: int,
    *,
    width: Annotated[int, Field(ge=1)] = 64,
    blocks: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1, max_length=6)] = [2, 2, 2, 1],  # noqa: B006 - never mutated
) -> nn.Module:
    """Return the network with random weights."""
    return PreactResNet(channels, classes, width, blocks)
