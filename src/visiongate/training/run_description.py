"""What a training run was, as MLflow shows it: its settings, its images, and the hardware that was chosen."""

from pathlib import Path

import torch

from visiongate.images.pixels import load_split
from visiongate.records.splits import SPLITS
from visiongate.records.transform import read_transform
from visiongate.settings.model import Model
from visiongate.settings.schema import Settings
from visiongate.training.fingerprint import data_sha256
from visiongate.training.hardware import choose_hardware


def describe_run(settings: Settings, directory: Path) -> dict[str, dict[str, object]]:
    """Return the parameters of a run besides its settings.

    Args:
        settings: Of the training.
        directory: The folder of the pixel arrays.

    Raises:
        SettingsError: The device is not available.
        DataError: A file of the pixel arrays is missing or invalid.
    """
    transform = read_transform(directory)
    counts = {name: len(load_split(directory, name).labels) for name in SPLITS}
    is_split = transform.protocol == "holdout"
    return {
        "data": {
            "sha256": data_sha256(directory),
            "size": transform.size,
            "mode": transform.mode,
            "protocol": transform.protocol,
            "folds": transform.folds,
            "images": counts if is_split else sum(counts.values()),
        },
        "hardware": _describe_hardware(settings),
    }


def _describe_hardware(settings: Settings) -> dict[str, object]:
    threads = torch.get_num_threads()
    if not isinstance(settings.model, Model):
        return {"device": "cpu", "precision": "fp32", "threads": threads}
    hardware = choose_hardware(settings.training.device, settings.training.precision)
    return {"device": str(hardware.device), "precision": hardware.precision, "threads": threads}
