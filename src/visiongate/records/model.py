"""``models/model.json`` and ``reports/training.json``: the trained model, and a summary of its training."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from visiongate.records.files import write_json
from visiongate.records.history import EpochMetrics
from visiongate.records.json_record import read_record


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """The content of ``models/model.json``."""

    # The name of the network or baseline.
    network: str
    options: Mapping[str, Any]
    # The URL or hash of the weights that the training started from; None if they were random.
    pretrained: str | None
    parameters: int
    # Divides the logits.
    temperature: float
    # The content of ``data/transformed/transform.json``.
    transform: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TrainingSummary:
    """The content of ``reports/training.json``."""

    best: EpochMetrics
    epochs: int
    temperature: float
    parameters: int
    # Precision and device, and the threads of a network, such as ``fp32 on cpu with 2 threads``.
    hardware: str


def write_model_description(path: Path, description: ModelDescription) -> None:
    """Write a model's description."""
    write_json(path, asdict(description))


def read_model_description(path: Path) -> ModelDescription:
    """Read a model's description.

    Raises:
        DataError: The file is missing or invalid.
    """
    return read_record(path, ModelDescription)


def write_training_summary(path: Path, summary: TrainingSummary) -> None:
    """Write the validation metrics of the best epoch, which ``dvc metrics`` shows, and facts about the training."""
    validated = {name: value for name, value in summary.best.defined().items() if name.startswith("val_")}
    write_json(
        path,
        {
            "best_epoch": summary.best.epoch,
            "epochs": summary.epochs,
            **validated,
            "temperature": summary.temperature,
            "parameters": summary.parameters,
            "hardware": summary.hardware,
        },
    )
