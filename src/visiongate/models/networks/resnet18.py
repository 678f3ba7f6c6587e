"""torchvision's ResNet-18 with random weights, its first convolution adapted to the number of channels.

Source: He et al., Deep Residual Learning for Image Recognition, 2015. It halves the image five times: meant for 32 pixels a
side and more.
"""

from torch import nn

from visiongate.models.torchvision_import import import_torchvision


def build(channels: int, classes: int) -> nn.Module:
    """Make the network with random weights."""
    network: nn.Module = import_torchvision().models.resnet18(weights=None, num_classes=classes)
    if channels != 3:  # noqa: PLR2004 - torchvision's own number
        network.conv1 = nn.Conv2d(channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
    return network
