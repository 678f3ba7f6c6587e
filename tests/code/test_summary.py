"""The table of a network's layers."""

import torch
from torch import nn

from visiongate.models.summary import summarize


class Twice(nn.Module):
    """A network that runs one layer twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 5, 2, bias=False))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.conv(self.conv(images)))
        return logits


def test_layers_are_listed_in_the_order_of_the_forward_pass() -> None:
    network = Twice()

    assert summarize(network, (4, 5, 3)) == [
        ("conv", "Conv2d", "3×4×5", "84"),
        ("conv", "Conv2d", "3×4×5", "0"),
        ("head.0", "Flatten", "60", "0"),
        ("head.1", "Linear", "2", "120"),
        ("total", "204 trained", "", "204"),
    ]


def test_frozen_layers_are_not_counted_as_trained() -> None:
    network = Twice().train()
    network.conv.requires_grad_(requires_grad=False)

    assert summarize(network, (4, 5, 3))[-1] == ("total", "120 trained", "", "204")
    assert network.training
    # No hook is left on the layers.
    assert len(summarize(network, (4, 5, 3))) == 5
