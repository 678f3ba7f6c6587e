"""The exponential moving average of a network's weights."""

import copy
from itertools import compress

import torch
from torch import Tensor, nn


class WeightAverage(nn.Module):
    """The average of a network's weights and buffers; call `update` after each step.

    The decay rises from 0 to ``decay``, so that the random initial weights do not count. torch's ``AveragedModel`` would wait
    for a GPU at each step, because it counts the steps there.

    Args:
        network: The network to average, on its device.
        decay: Per step.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        self.module = copy.deepcopy(network)
        self._decay = decay
        self._steps = 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Add the current weights of the network."""
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps)) if self._steps else 0.0
        self._steps += 1
        averages, values = _tensors(self.module), _tensors(network)
        is_float = [value.is_floating_point() for value in values]
        torch._foreach_lerp_([*compress(averages, is_float)], [*compress(values, is_float)], 1 - decay)
        for average, value in zip(averages, values, strict=True):
            # Batch norm counts its batches in an integer, which cannot be averaged.
            if not value.is_floating_point():
                average.copy_(value)

    def get_extra_state(self) -> int:
        """Return the number of steps, which torch adds to the state."""
        return self._steps

    def set_extra_state(self, state: int) -> None:
        """Restore what `get_extra_state` returned."""
        self._steps = state


def _tensors(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]
