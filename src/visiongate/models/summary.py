"""A table of a network's layers."""

from typing import Any

import torch
from torch import Tensor, nn

HEADER = ("layer", "kind", "output", "parameters")
Layer = tuple[str, str, str, str]


@torch.no_grad()
def summarize(network: nn.Module, input_shape: tuple[int, int, int]) -> list[Layer]:
    """Return name, kind, output shape and number of parameters of each layer, in the order of the forward pass.

    A layer is a module without submodules. A layer that runs twice has two rows; the second counts no parameters.

    Args:
        network: On the CPU.
        input_shape: Height, width and channels.
    """
    rows: list[Layer] = []
    counted: set[nn.Module] = set()

    def record(name: str, module: nn.Module) -> Any:  # noqa: ANN401 - torch's handle
        def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            count = 0 if module in counted else sum(parameter.numel() for parameter in module.parameters())
            counted.add(module)
            rows.append((name, type(module).__name__, "×".join(map(str, output.shape[1:])), f"{count:,}"))

        return module.register_forward_hook(hook)

    handles = [
        record(name, module) for name, module in network.named_modules() if not list(module.children())
    ]
    was_training = network.training
    height, width, channels = input_shape
    network.eval()(torch.zeros(1, channels, height, width))
    network.train(was_training)
    for handle in handles:
        handle.remove()
    total = sum(parameter.numel() for parameter in network.parameters())
    trained = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    return [*rows, ("total", f"{trained:,} trained", "", f"{total:,}")]
