"""torchvision's EfficientNet-B0 with a first convolution for the images' channels and a head for the classes.

It halves the image five times: use it from 64 pixels a side, and with ImageNet's weights near 224.

Source: Tan and Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, 2019.

Options:
    weights: ``none``, ``imagenet`` or a local file of weights.
    dropout: Dropout rate before the head.
"""

from typing import Annotated

from pydantic import Field
from torch import nn

from visiongate.models.torchvision_import import import_torchvision
from visiongate.models.transfer import NONE, TransferNetwork

FEATURES = 1280


def build(
    channels: int,
    size: int,  # noqa: ARG001 - any size works
    classes: int,
    *,
    weights: str = NONE,
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2,
) -> nn.Module:
    """Return the network.

    Raises:
        SettingsError: The weights cannot be downloaded or read, or belong to another network.
    """
    models = import_torchvision().models
    backbone = models.efficientnet_b0(weights=None)
    backbone.classifier = nn.Identity()
    backbone.features[0][0] = nn.Conv2d(channels, 32, kernel_size=3, stride=2, padding=1, bias=False)
    network = TransferNetwork(backbone, nn.Sequential(nn.Dropout(dropout), nn.Linear(FEATURES, classes)))
    network.load_backbone(weights, models.EfficientNet_B0_Weights.IMAGENET1K_V1, "features.0.0.weight")
    return network
