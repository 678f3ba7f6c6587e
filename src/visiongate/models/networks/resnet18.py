"""torchvision's ResNet-18 with a first convolution for the images' channels and a head for the classes.

It halves the image five times: use it from 32 pixels a side, and with ImageNet's weights near 224.

Source: He et al., Deep Residual Learning for Image Recognition, 2015.

Options:
    weights: ``none``, ``imagenet`` or a local file of weights.
"""

from torch import nn

from visiongate.models.torchvision_import import import_torchvision
from visiongate.models.transfer import NONE, TransferNetwork

FEATURES = 512


def build(channels: int, size: int, classes: int, *, weights: str = NONE) -> nn.Module:  # noqa: ARG001 - any size works
    """Return the network.

    Raises:
        SettingsError: The weights cannot be downloaded or read, or belong to another network.
    """
    models = import_torchvision().models
    backbone = models.resnet18(weights=None)
    backbone.fc = nn.Identity()
    backbone.conv1 = nn.Conv2d(channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
    network = TransferNetwork(backbone, nn.Linear(FEATURES, classes))
    network.load_backbone(weights, models.ResNet18_Weights.IMAGENET1K_V1, "conv1.weight")
    return network
