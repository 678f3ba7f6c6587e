"""Export a network to one ONNX file that contains preprocessing and calibration.

Evaluation reads this file, so the served model is the evaluated model, and serving does not need torch.
"""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from visiongate.models.onnx_files import OPSET, write_onnx
from visiongate.models.predictor import INPUT, PROBABILITIES


class ServingNetwork(nn.Module):
    """A network with preprocessing before it and calibrated probabilities after it.

    Args:
        network: Maps normalized float images, N×C×H×W, to logits, N×K.
        mean: Of each channel, with pixels in 0..1.
        std: Of each channel.
        temperature: Divides the logits; see `visiongate.training.calibration`.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: list[float], std: list[float], temperature: float) -> None:
        super().__init__()
        self.network = network
        self.temperature = temperature
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return the probabilities, N×K, of uint8 images, N×H×W×C."""
        pixels = images.permute(0, 3, 1, 2).float() / 255
        logits: Tensor = self.network((pixels - self.mean) / self.std)
        return torch.softmax(logits / self.temperature, dim=1)


def export_network(
    network: ServingNetwork, input_shape: tuple[int, int, int], metadata: Mapping[str, object], path: Path
) -> None:
    """Write a network as one checked ONNX file; equal networks give equal bytes.

    Args:
        network: On the CPU, in fp32.
        input_shape: Height, width and channels.
        metadata: See `write_onnx`.
        path: The file to write.
    """
    example = torch.zeros((2, *input_shape), dtype=torch.uint8)
    with _silenced():
        program = torch.onnx.export(
            network.eval(),
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[PROBABILITIES],
            dynamic_shapes={"images": {0: torch.export.Dim("batch", min=1)}},
            verbose=False,
        )
    # torch's annotation allows None, which dynamo=True never returns.
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    model = program.model_proto
    _remove_notes(model)
    write_onnx(model, metadata, path)


def _remove_notes(model: onnx.ModelProto) -> None:
    """Remove stack traces, whose absolute paths would make the bytes depend on the location of the clone."""
    del model.metadata_props[:]
    del model.functions[:]
    model.doc_string = ""
    graph = model.graph
    for item in [graph, *graph.node, *graph.value_info, *graph.input, *graph.output]:
        item.doc_string = ""
        del item.metadata_props[:]
    for initializer in graph.initializer:
        initializer.doc_string = ""


@contextmanager
def _silenced() -> Iterator[None]:
    """Suppress the exporter's warnings about its own internals; errors still raise."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
