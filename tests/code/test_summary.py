"""The summary of a network, against what is known of its layers."""

import torch
from torch import nn

from visiongate.models.summary import summarize


class Twice(nn.Module):
    """A network that passes one layer twice, and branches by nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 5, 2, bias=False))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.conv(self.conv(images)))
        return logits


def test_layers_are_told_in_the_order_in_which_an_image_passes_them() -> None:
    network = Twice()

    assert summarize(network, (4, 5, 3)) == [
        ("conv", "Conv2d", "3×4×5", "84"),
        ("conv", "Conv2d", "3×4×5", "0"),
        ("head.0", "Flatten", "60", "0"),
        ("head.1", "Linear", "2", "120"),
        ("in all", "204 trained", "", "204"),
    ]


def test_frozen_layers_are_not_counted_as_trained_and_the_network_is_as_before() -> None:
    network = Twice().train()
    network.conv.requires_grad_(requires_grad=False)

    assert summarize(network, (4, 5, 3))[-1] == ("in all", "120 trained", "", "204")
    assert network.training
    assert len(summarize(network, (4, 5, 3))) == 5  # nothing is left hanging on the layers
