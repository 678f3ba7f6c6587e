"""torchvision's ResNet-18 with a head for the classes.

It halves the image five times: use it from 32 pixels a side, and with ImageNet's weights near 224.

Source: He et al., Deep Residual Learning for Image Recognition, 2015.

Options:
    weights: ``none``, ``imagenet`` or a local file of weights.
"""

from collections import OrderedDict

from torch import nn

from visiongate.models.pretrained import NONE, from_torchvision, read_start
from visiongate.models.torchvision_import import import_torchvision
from visiongate.models.transfer import TransferNetwork

FEATURES = 512
# The layers after the last feature map.
TOP = ("avgpool", "fc")


def build(channels: int, size: int, classes: int, *, weights: str = NONE) -> nn.Module:  # noqa: ARG001 - any size works
    """Return the network.

    Raises:
        SettingsError: The weights cannot be downloaded or read, or belong to another network.
    """
    models = import_torchvision().models
    start = read_start(weights, from_torchvision(models.ResNet18_Weights.IMAGENET1K_V1))
    layers = models.resnet18(weights=None).named_children()
    backbone = nn.Sequential(OrderedDict((name, layer) for name, layer in layers if name not in TOP))
    return TransferNetwork(backbone, nn.Linear(FEATURES, classes)).start_from(start, channels)
