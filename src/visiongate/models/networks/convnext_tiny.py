"""torchvision's ConvNeXt-Tiny with a head for the classes.

It halves the image five times without padding: use it from 32 pixels a side, and with ImageNet's weights near 224.

Source: Liu et al., A ConvNet for the 2020s, 2022.

Options:
    weights: ``none``, ``imagenet`` or a local file of weights.
    dropout: Dropout rate before the head.
"""

from collections import OrderedDict
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from visiongate.models.pretrained import NONE, from_torchvision, read_start
from visiongate.models.torchvision_import import import_torchvision
from visiongate.models.transfer import TransferNetwork

FEATURES = 768


class PooledLayerNorm(nn.LayerNorm):
    """The layer norm that ConvNeXt applies to its pooled features, applied before they are pooled.

    It takes mean and variance from the pooled features, so it is affine at each place, and pooling its output equals the norm
    of the pooled features. The activation map then explains the logit.
    """

    def forward(self, feature_map: Tensor) -> Tensor:
        """Return the normalized feature map, N×D×h×w."""
        pooled = feature_map.mean(dim=(2, 3), keepdim=True)
        variance, mean = torch.var_mean(pooled, dim=1, correction=0, keepdim=True)
        normalized = (feature_map - mean) * torch.rsqrt(variance + self.eps)
        return normalized * self.weight[:, None, None] + self.bias[:, None, None]


def build(
    channels: int,
    size: int,  # noqa: ARG001 - any size works
    classes: int,
    *,
    weights: str = NONE,
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
) -> nn.Module:
    """Return the network.

    Raises:
        SettingsError: The weights cannot be downloaded or read, or belong to another network.
    """
    models = import_torchvision().models
    start = read_start(weights, from_torchvision(models.ConvNeXt_Tiny_Weights.IMAGENET1K_V1))
    norm = PooledLayerNorm(FEATURES, eps=1e-6)
    # The names of the published weights.
    layers = OrderedDict(features=models.convnext_tiny(weights=None).features, classifier=nn.Sequential(norm))
    network = TransferNetwork(nn.Sequential(layers), nn.Linear(FEATURES, classes), dropout)
    return network.start_from(start, channels)
