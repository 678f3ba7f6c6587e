"""A network, layer by layer, as text."""

from typing import Any

import torch
from torch import Tensor, nn

HEADER = ("layer", "kind", "output", "parameters")


@torch.no_grad()
def summarize(network: nn.Module, input_shape: tuple[int, int, int]) -> list[tuple[str, str, str, str]]:
    """Return name, kind, output shape and number of parameters of each layer, in the order in which an image passes them.

    A layer is a module without modules; one that is passed twice is there twice, with its parameters once.

    Args:
        network: On the CPU; whether it is in training or not, it is as before.
        input_shape: Height, width and channels.
    """
    rows: list[tuple[str, str, str, str]] = []
    seen: set[nn.Module] = set()

    def note(name: str, module: nn.Module) -> Any:  # noqa: ANN401 - a hook, as torch wants it
        def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            count = 0 if module in seen else sum(parameter.numel() for parameter in module.parameters())
            seen.add(module)
            rows.append((name, type(module).__name__, "×".join(map(str, output.shape[1:])), f"{count:,}"))

        return module.register_forward_hook(hook)

    handles = [note(name, module) for name, module in network.named_modules() if not list(module.children())]
    training = network.training
    height, width, channels = input_shape
    network.eval()(torch.zeros(1, channels, height, width))
    network.train(training)
    for handle in handles:
        handle.remove()
    total = sum(parameter.numel() for parameter in network.parameters())
    trained = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    return [*rows, ("in all", f"{trained:,} trained", "", f"{total:,}")]
