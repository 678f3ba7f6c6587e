"""``models/model.json`` and ``reports/training.json``: the trained model, and a summary of its training."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from visiongate.errors import DataError
from visiongate.records.files import read_json, write_json
from visiongate.records.history import EpochMetrics


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
    # Precision and device, such as ``fp32 on cpu``.
    hardware: str


_DESCRIPTION = TypeAdapter(ModelDescription)


def write_model_description(path: Path, description: ModelDescription) -> None:
    """Write a model's description."""
    write_json(path, asdict(description))


def read_model_description(path: Path) -> ModelDescription:
    """Read a model's description.

    Raises:
        DataError: The content is not a model's description.
    """
    try:
        return _DESCRIPTION.validate_python(read_json(path))
    except (ValueError, ValidationError) as error:
        raise DataError(f"{path}: it is not the description of a model: {error}") from None


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
