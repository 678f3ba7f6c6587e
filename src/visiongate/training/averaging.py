"""The exponential moving average of a network's weights."""

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

Tensors = tuple[Tensor, ...] | list[Tensor]


def average_weights(network: nn.Module, decay: float) -> AveragedModel:
    """Make an average that follows a network, batch norm's statistics included; call ``update_parameters`` after each step.

    Early on the average would be of the random start: until there are steps enough, the decay is that of a plain mean.

    Args:
        network: What to follow.
        decay: By step.
    """

    @torch.no_grad()
    def follow(averages: Tensors, values: Tensors, count: Tensor | int) -> None:
        if not averages[0].is_floating_point():  # batch norm counts its batches
            torch._foreach_copy_(averages, values)
            return
        steps = int(count)
        torch._foreach_lerp_(averages, values, 1 - min(decay, (1 + steps) / (10 + steps)))

    return AveragedModel(network, multi_avg_fn=follow, use_buffers=True)
