"""From pixel arrays and settings to something that can be trained: the common start of `train` and `optimize`."""

from pathlib import Path

import torch

from visiongate.config import Model, Training
from visiongate.data.pixels import Transform, load_split, read_transform
from visiongate.models.registry import build_network
from visiongate.training.batches import Normalisation, to_device
from visiongate.training.hardware import choose_hardware
from visiongate.training.loop import Task


def prepare_task(directory: Path, model: Model, training: Training) -> Task:
    """Build the network and put it and the data on the device; call within `repeatable`.

    Args:
        directory: Pixel arrays and ``transform.json``.
        model: Which network.
        training: Which device and precision.

    Raises:
        SettingsError: The network, an option or the device does not exist.
    """
    transform = read_transform(directory)
    hardware = choose_hardware(training.device, training.precision)
    network = build_network(model.name, model.options, len(transform.mode), len(transform.classes))
    return Task(
        # The one form of `to` that torch's own annotations leave out.
        network.to(hardware.device).to(memory_format=torch.channels_last),  # type: ignore[call-overload]
        to_device(load_split(directory, "train"), hardware.device),
        to_device(load_split(directory, "val"), hardware.device),
        _normalisation(transform, hardware.device),
        hardware,
    )


def _normalisation(transform: Transform, device: torch.device) -> Normalisation:
    mean, std = (
        torch.tensor(values, device=device).view(1, -1, 1, 1) for values in (transform.mean, transform.std)
    )
    return Normalisation(mean, std)
