"""Try a device before a training uses it: torch offers devices that lack operators, or that do not repeat a result."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD

from visiongate.training.augmentation import shrink
from visiongate.training.batches import to_pixels
from visiongate.training.loss_scaling import LossScaler

if TYPE_CHECKING:
    from visiongate.training.hardware import Hardware

STEPS, IMAGES, SIZE, CLASSES = 3, 64, 16, 10
# Of the norm of the change that the CPU makes to the weights in fp32: on CPUs, bf16 deviates by 1%.
MAX_DEVIATION = 0.1


def small_network() -> nn.Module:
    """Return a network of the layers that most networks have."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.GELU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, CLASSES),
    )


def find_fault(hardware: "Hardware", build: Callable[[], nn.Module] = small_network) -> str | None:
    """Train a network for a few steps, twice; call within `reproducible`.

    Args:
        hardware: The device and the precision to try.
        build: Returns the network, with random weights, for `CLASSES` classes and images of three channels and any size.

    Returns:
        Why the device must not be used, or None: an operator is missing, the result is not repeatable, or it is wrong.
    """
    try:
        first, second = (_train(hardware, build) for _ in range(2))
    except (RuntimeError, TypeError) as error:
        return str(error).partition("\n")[0]
    if not first.isfinite().all():
        return "training steps give infinite or NaN weights"
    if not torch.equal(first, second):
        return "the same training steps give different weights each time"
    expected = _train(replace(hardware, device=torch.device("cpu"), dtype=torch.float32), build)
    if (first - expected).norm() > MAX_DEVIATION * expected.norm():
        return "training steps give other weights than on the CPU"
    return None


def _train(hardware: "Hardware", build: Callable[[], nn.Module]) -> Tensor:
    """Return the change of the weights, on the CPU."""
    device = hardware.device
    torch.manual_seed(0)
    network = hardware.place(build())
    images = torch.randint(0, 256, (IMAGES, SIZE, SIZE, 3), dtype=torch.uint8).to(device)
    labels, order = torch.randint(0, CLASSES, (IMAGES,)).to(device), torch.randperm(IMAGES).to(device)
    optimizer = SGD(network.parameters(), 0.1, momentum=0.9, nesterov=True)
    scaler = LossScaler(network, hardware)
    before = _weights(network)
    for _ in range(STEPS):
        pixels = shrink(to_pixels(images[order]), SIZE // 2)
        with hardware.autocast():
            logits = network(pixels).float()
        scaler.scale(functional.cross_entropy(logits, labels[order])).backward()
        if scaler.unscale():
            optimizer.step()
        optimizer.zero_grad()
    return _weights(network) - before


def _weights(network: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().cpu().flatten() for parameter in network.parameters()])
