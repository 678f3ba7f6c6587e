"""A network and its data on a device, as `train` and `optimize` need them."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from visiongate.errors import DataError, SettingsError
from visiongate.images.pixels import PixelSplit, load_split
from visiongate.models.normalization import Normalization, statistics_for
from visiongate.models.registry import build_network
from visiongate.records.transform import Transform, read_transform
from visiongate.settings.model import Model
from visiongate.settings.training import Training
from visiongate.training import distributed
from visiongate.training.augmentation import shrink
from visiongate.training.batches import MIN_BATCH, TensorSplit, to_device, to_pixels
from visiongate.training.hardware import DTYPES, Hardware, choose_hardware
from visiongate.training.hardware_choice import choose_by_timing
from visiongate.training.memory import is_out_of_memory, keep_freed_memory

# Maximum number of images that a network's `initialize` gets.
INITIAL_IMAGES = 5000
# A training of fewer steps hardly takes longer than it takes to time some.
MIN_TIMED_STEPS = 50


@dataclass(frozen=True, slots=True)
class Task:
    """A network, and the splits that it is trained and validated on, on one device."""

    network: nn.Module
    classes: int
    train: TensorSplit
    val: TensorSplit
    normalize: Normalization
    hardware: Hardware


def prepare_task(directory: Path, model: Model, training: Training) -> Task:
    """Build the task of the training and the validation split; call within `reproducible`.

    Args:
        directory: Contains the pixel arrays and ``transform.json``.
        model: Selects the network.
        training: Selects device and precision.

    Raises:
        SettingsError: As `build_task`.
        DataError: A split has too few images.
    """
    train, val = (load_split(directory, split) for split in ("train", "val"))
    _check_counts(len(train.labels), len(val.labels))
    return build_task(read_transform(directory), (train, val), model, training)


def build_task(
    transform: Transform, splits: tuple[PixelSplit, PixelSplit], model: Model, training: Training
) -> Task:
    """Build the network, and copy the network and the data to the device; call within `reproducible`.

    Args:
        transform: The preprocessing of the images.
        splits: The images to train and to validate on.
        model: Selects the network.
        training: Selects device and precision.

    Raises:
        SettingsError: The network, an option or the device is invalid, or the images are too small for the network.
    """
    keep_freed_memory()
    hardware = _agree_on_hardware(training)
    classes = len(transform.classes)
    network = build_network(model.name, model.options, len(transform.mode), transform.size, classes)
    train, val = (to_device(split, hardware.device) for split in splits)
    normalize = Normalization(statistics_for(network, transform)).to(hardware.device)
    network = hardware.place(network)
    _initialize(network, train, normalize)
    check_sizes(network, normalize(to_pixels(train.images[:1])), model, training)
    if _is_timed(len(train), model, training):
        images = normalize(to_pixels(train.images[: model.batch_size]))
        hardware = choose_by_timing(hardware, network, images, model, training)
    return Task(network, classes, train, val, normalize, hardware)


def _is_timed(images: int, model: Model, training: Training) -> bool:
    """Return whether steps are timed; several processes must choose alike, and the trainer rejects a batch of one image."""
    is_long = training.epochs * images >= MIN_TIMED_STEPS * model.batch_size
    return is_long and distributed.world_size() == 1 and model.batch_size >= MIN_BATCH


def _initialize(network: nn.Module, train: TensorSplit, normalize: Normalization) -> None:
    """Pass evenly spaced training images to the network's ``initialize``, if it has one."""
    initialize = getattr(network, "initialize", None)
    if initialize is not None:
        step = max(len(train) // INITIAL_IMAGES, 1)
        initialize(normalize(to_pixels(train.images[::step])))


def _agree_on_hardware(training: Training) -> Hardware:
    """Choose the same precision in all processes: fp32 if their machines choose differently."""
    chosen = choose_hardware(training.device, training.precision)
    if distributed.is_equal_everywhere(list(DTYPES).index(chosen.precision)):
        return chosen
    return Hardware(chosen.device, torch.float32)


def _check_counts(train: int, val: int) -> None:
    if train < MIN_BATCH * distributed.world_size() or not val:
        raise DataError(
            f"data/transformed: {train} training images and {val} validation images are too few; add images, or change "
            "transformation.split"
        )


@torch.no_grad()
def check_sizes(network: nn.Module, image: Tensor, model: Model, training: Training) -> None:
    """Run the network on an image, 1×C×H×W, of each size that the training uses.

    Raises:
        SettingsError: A size is too small for the network.
    """
    sizes = {"transformation.size": image.shape[-1], "training.progressive.size": training.progressive.size}
    network.eval()
    for name, size in sizes.items():
        if size is None:
            continue
        try:
            network(shrink(image, size) if size < image.shape[-1] else image)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            raise SettingsError(
                f"params.yaml: {name} = {size} is too small for {model.name}: {error}"
            ) from None
