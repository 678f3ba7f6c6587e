"""The mean and the standard deviation that a network's images are normalized with."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from visiongate.records.transform import Transform


@dataclass(frozen=True, slots=True)
class ChannelStatistics:
    """Mean and standard deviation of each channel, with pixels in 0..1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


class Normalization(nn.Module):
    """Normalizes pixels as a network expects them.

    Args:
        statistics: Of as many channels as the network takes.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, statistics: ChannelStatistics) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(statistics.mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(statistics.std).view(1, -1, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalize pixels in 0..1, N×C×H×W; a network of three channels gets a gray image three times."""
        # The channel of a gray image is repeated by broadcasting.
        return (pixels - self.mean) / self.std


def statistics_for(network: nn.Module, transform: Transform) -> ChannelStatistics:
    """Return the statistics that a network's weights were trained with, or those of the data set for random weights.

    Args:
        network: May have the attribute ``statistics``; see `visiongate.models.transfer.TransferNetwork`.
        transform: Of the data set.
    """
    own: ChannelStatistics | None = getattr(network, "statistics", None)
    return own or ChannelStatistics(tuple(transform.mean), tuple(transform.std))
