"""The exponential moving average of a network's weights."""

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

Tensors = tuple[Tensor, ...] | list[Tensor]


def average_weights(network: nn.Module, decay: float) -> AveragedModel:
    """Return the average of a network's weights and buffers; call ``update_parameters`` after each step.

    The decay starts as that of a plain mean and rises to ``decay``, so that the random initial weights do not count.

    Args:
        network: The network to average.
        decay: Per step.
    """

    @torch.no_grad()
    def update(averages: Tensors, values: Tensors, count: Tensor | int) -> None:
        # Batch norm counts its batches in an integer, which cannot be averaged.
        if not averages[0].is_floating_point():
            torch._foreach_copy_(averages, values)
            return
        steps = int(count)
        torch._foreach_lerp_(averages, values, 1 - min(decay, (1 + steps) / (10 + steps)))

    return AveragedModel(network, multi_avg_fn=update, use_buffers=True)
