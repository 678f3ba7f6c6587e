"""From pixel arrays and settings to something that can be trained: the common start of `train` and `optimize`."""

from pathlib import Path

import torch
from torch import Tensor, nn

from visiongate.errors import DataError, SettingsError
from visiongate.images.pixels import load_split
from visiongate.models.registry import build_network
from visiongate.records.transform import Transform, read_transform
from visiongate.settings.schema import Model, Training
from visiongate.training import distributed
from visiongate.training.augmentation import shrink
from visiongate.training.batches import LEAST, Normalization, Tensors, to_device, to_pixels
from visiongate.training.hardware import Hardware, choose_hardware
from visiongate.training.memory import OUT_OF_MEMORY, keep_freed_memory
from visiongate.training.task import Task

SAMPLE = 5000  # images that a network may look at before it learns


def prepare_task(directory: Path, model: Model, training: Training) -> Task:
    """Build the network and put it and the data on the device; call within `repeatable`.

    Args:
        directory: Pixel arrays and ``transform.json``.
        model: Which network.
        training: Which device and precision.

    Raises:
        SettingsError: The network, an option or the device does not exist, or the network cannot take images of this size.
        DataError: A split has too few images.
    """
    keep_freed_memory()
    transform = read_transform(directory)
    hardware = _agree_on_hardware(training)
    network = build_network(
        model.name, model.options, len(transform.mode), transform.size, len(transform.classes)
    )
    train, val = (to_device(load_split(directory, split), hardware.device) for split in ("train", "val"))
    _check_counts(len(train), len(val))
    normalize = _normalization(transform, hardware.device)
    network = hardware.place(network)
    _initialize(network, train, normalize)
    _check_sizes(network, normalize(to_pixels(train.images[:1])), model, training)
    return Task(network, len(transform.classes), train, val, normalize, hardware)


def _normalization(transform: Transform, device: torch.device) -> Normalization:
    mean, std = (
        torch.tensor(values, device=device).view(1, -1, 1, 1) for values in (transform.mean, transform.std)
    )
    return Normalization(mean, std)


def _initialize(network: nn.Module, train: Tensors, normalize: Normalization) -> None:
    """Let a network whose start depends on the data see some, evenly spread over the training split."""
    initialize = getattr(network, "initialize", None)
    if initialize is not None:
        step = max(len(train) // SAMPLE, 1)
        initialize(normalize(to_pixels(train.images[::step])))


def _agree_on_hardware(training: Training) -> Hardware:
    """Choose, the same for all processes: where their probes differ, the plainest."""
    chosen = choose_hardware(training.device, training.precision)
    kinds = (torch.float32, torch.bfloat16), (torch.contiguous_format, torch.channels_last)
    if distributed.is_same(kinds[0].index(chosen.dtype)) and distributed.is_same(
        kinds[1].index(chosen.layout)
    ):
        return chosen
    return Hardware(chosen.device, torch.float32)


def _check_counts(train: int, val: int) -> None:
    if train < LEAST * distributed.size() or not val:
        raise DataError(
            f"data/transformed: {train} training images and {val} validation images are too few; add images, or change "
            "transformation.split"
        )


@torch.no_grad()
def _check_sizes(network: nn.Module, image: Tensor, model: Model, training: Training) -> None:
    """Try the network on an image of each size that it will see."""
    sizes = {"transformation.size": image.shape[-1], "training.progressive.size": training.progressive.size}
    network.eval()
    for name, size in sizes.items():
        if size is not None:
            try:
                network(shrink(image, size) if size < image.shape[-1] else image)
            except RuntimeError as error:
                if any(sign in str(error) for sign in OUT_OF_MEMORY):
                    raise
                raise SettingsError(
                    f"{name} = {size}: {model.name} takes no images so small: {error}"
                ) from None
