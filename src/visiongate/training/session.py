"""From pixel arrays and settings to something that can be trained: the common start of `train` and `optimize`."""

from pathlib import Path

import torch
from torch import nn

from visiongate.config import Model, Training
from visiongate.data.pixels import Transform, load_split, read_transform
from visiongate.models.registry import build_network
from visiongate.training.batches import Normalisation, Tensors, to_device, to_pixels
from visiongate.training.hardware import choose_hardware
from visiongate.training.memory import keep_freed_memory
from visiongate.training.task import Task

SAMPLE = 5000  # images that a network may look at before it learns


def prepare_task(directory: Path, model: Model, training: Training) -> Task:
    """Build the network and put it and the data on the device; call within `repeatable`.

    Args:
        directory: Pixel arrays and ``transform.json``.
        model: Which network.
        training: Which device and precision.

    Raises:
        SettingsError: The network, an option or the device does not exist.
    """
    keep_freed_memory()
    transform = read_transform(directory)
    hardware = choose_hardware(training.device, training.precision)
    network = build_network(
        model.name, model.options, len(transform.mode), transform.size, len(transform.classes)
    )
    train, val = (to_device(load_split(directory, split), hardware.device) for split in ("train", "val"))
    normalise = _normalisation(transform, hardware.device)
    network = hardware.place(network)
    _initialise(network, train, normalise)
    return Task(network, len(transform.classes), train, val, normalise, hardware)


def _normalisation(transform: Transform, device: torch.device) -> Normalisation:
    mean, std = (
        torch.tensor(values, device=device).view(1, -1, 1, 1) for values in (transform.mean, transform.std)
    )
    return Normalisation(mean, std)


def _initialise(network: nn.Module, train: Tensors, normalise: Normalisation) -> None:
    """Let a network whose start depends on the data see some, evenly spread over the training split."""
    initialise = getattr(network, "initialise", None)
    if initialise is not None:
        step = max(len(train) // SAMPLE, 1)
        initialise(normalise(to_pixels(train.images[::step])))
