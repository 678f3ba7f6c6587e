"""What is to be learned: a network, the data, and the hardware they lie on."""

from dataclasses import dataclass

from torch import nn

from visiongate.training.batches import Normalization, Tensors
from visiongate.training.hardware import Hardware


@dataclass(frozen=True, slots=True)
class Task:
    """A network and the splits it learns from and is validated on, on one device."""

    network: nn.Module
    classes: int
    train: Tensors
    val: Tensors
    normalize: Normalization
    hardware: Hardware
