"""A trained network or baseline, ready to be written."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from visiongate.models.backbone import Backbone
from visiongate.models.baseline_export import ServingBaseline, export_baseline
from visiongate.models.embedding import BACKBONE
from visiongate.models.normalization import statistics_for
from visiongate.models.onnx_export import ServingNetwork, export_network
from visiongate.models.pretrained import statistics_metadata
from visiongate.models.probe import LinearHead, export_probe
from visiongate.models.registry import parameter_count
from visiongate.models.summary import Layer, summarize
from visiongate.records.transform import Transform
from visiongate.training.task import Task


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A trained network or baseline.

    Attributes:
        tensors: All trained values by name.
        parameters: Their number.
        pretrained: The URL or hash of the weights that the training started from; None if they were random.
        hardware: Precision and device, and on a CPU the threads.
        temperature: Divides the logits.
        layers: The model summary.
        export: Writes the ONNX file.
        tensor_metadata: Stored with the tensors.
        draw: Writes a figure of the importance of each pixel, for a baseline.
    """

    tensors: Mapping[str, Tensor]
    parameters: int
    pretrained: str | None
    hardware: str
    temperature: float
    layers: list[Layer]
    export: Callable[[Path], None]
    tensor_metadata: dict[str, str] | None = None
    draw: Callable[[Path], None] | None = None


def finished(trained: TrainedModel, finish: Callable[[Path], object]) -> TrainedModel:
    """Return a model whose file is finished after it is exported; see `visiongate.training.finishing`."""

    def export(path: Path) -> None:
        trained.export(path)
        finish(path)

    return replace(trained, export=export)


def describe_network(task: Task, transform: Transform, temperature: float) -> TrainedModel:
    """Return the network of a finished training; it is moved to the CPU.

    Args:
        task: Its network is trained.
        transform: The preprocessing, which the ONNX file contains.
        temperature: Of the calibration.
    """
    network = task.network.cpu().float()
    statistics = statistics_for(network, transform)
    serving = ServingNetwork(network, statistics, temperature)
    metadata = _metadata(transform, temperature) | {"normalization": asdict(statistics)}
    return TrainedModel(
        tensors=network.state_dict(),
        parameters=parameter_count(network),
        pretrained=getattr(network, "pretrained", None),
        hardware=str(task.hardware),
        temperature=temperature,
        layers=summarize(network, (transform.size, transform.size, len(statistics.mean))),
        export=lambda path: export_network(serving, transform.input_shape, metadata, path),
        tensor_metadata=statistics_metadata(statistics),
    )


def describe_baseline(name: str, baseline: ServingBaseline, transform: Transform) -> TrainedModel:
    """Return a fitted baseline.

    Args:
        name: Of the baseline.
        baseline: Fitted and calibrated.
        transform: The preprocessing, which the ONNX file contains.
    """
    metadata = _metadata(transform, baseline.temperature)
    tensors = {key: torch.from_numpy(array) for key, array in baseline.classifier.tensors().items()}
    title = f"{name}: importance of each pixel"

    def draw(path: Path) -> None:
        from visiongate.training.pixel_importance import draw_pixel_importance  # noqa: PLC0415 - matplotlib

        importances = baseline.classifier.importances()
        draw_pixel_importance(importances, baseline.pooling, transform.classes, title, path)

    return TrainedModel(
        tensors=tensors,
        parameters=sum(tensor.numel() for tensor in tensors.values()),
        pretrained=None,
        hardware="fp32 on cpu",
        temperature=baseline.temperature,
        layers=_layers(name, tensors),
        export=lambda path: export_baseline(baseline, metadata, path),
        draw=draw,
    )


def describe_probe(
    backbone: Backbone, head: LinearHead, transform: Transform, temperature: float
) -> TrainedModel:
    """Return a fitted probe.

    Args:
        backbone: Its features are the head's input.
        head: Fitted.
        transform: The preprocessing, which the ONNX file contains.
        temperature: Of the calibration.
    """
    metadata = _metadata(transform, temperature) | {BACKBONE: backbone.name}
    tensors = {"head.weight": torch.from_numpy(head.weights), "head.bias": torch.from_numpy(head.bias)}
    frozen = (backbone.name, "frozen", str(head.weights.shape[1]), f"{backbone.parameters:,}")
    return TrainedModel(
        tensors=tensors,
        parameters=backbone.parameters + head.weights.size + head.bias.size,
        pretrained=backbone.pretrained,
        hardware="fp32 on cpu",
        temperature=temperature,
        layers=[frozen, *_layers("Linear", tensors)],
        export=lambda path: export_probe(backbone.graph, head, temperature, metadata, path),
    )


def _layers(kind: str, tensors: Mapping[str, Tensor]) -> list[Layer]:
    return [
        (key, kind, "×".join(map(str, tensor.shape)), f"{tensor.numel():,}")
        for key, tensor in tensors.items()
    ]


def _metadata(transform: Transform, temperature: float) -> dict[str, object]:
    return {"classes": transform.classes, "transform": asdict(transform), "temperature": temperature}
