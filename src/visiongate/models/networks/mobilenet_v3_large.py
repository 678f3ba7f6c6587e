"""torchvision's MobileNetV3-Large with a head for the classes, which sees the pooled features: its hidden layer is left out.

It halves the image five times: use it from 64 pixels a side, and with ImageNet's weights near 224.

Source: Howard et al., Searching for MobileNetV3, 2019.

Options:
    weights: ``none``, ``imagenet`` or a local file of weights.
    dropout: Dropout rate before the head.
"""

from collections import OrderedDict
from typing import Annotated

from pydantic import Field
from torch import nn

from visiongate.models.pretrained import NONE, from_torchvision, read_start
from visiongate.models.torchvision_import import import_torchvision
from visiongate.models.transfer import TransferNetwork

FEATURES = 960


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
    start = read_start(weights, from_torchvision(models.MobileNet_V3_Large_Weights.IMAGENET1K_V2))
    backbone = nn.Sequential(OrderedDict(features=models.mobilenet_v3_large(weights=None).features))
    return TransferNetwork(backbone, nn.Linear(FEATURES, classes), dropout).start_from(start, channels)
