"""A trained network as one ONNX file: uint8 pixels in, probabilities out, preprocessing and calibration inside.

What is judged is then the very file that is served, and nothing that serves it needs torch.
"""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from visiongate.models.onnx_files import INPUT, OPSET, OUTPUT, write_onnx


class Served(nn.Module):
    """A network between pixels and probabilities.

    Args:
        network: Normalized float images, N×C×H×W, to logits, N×K.
        mean: Of each channel, pixels taken as 0..1.
        std: Of each channel.
        temperature: What the logits are divided by; see `visiongate.training.calibration`.
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
        """Turn uint8 images, N×H×W×C, into probabilities, N×K."""
        pixels = images.permute(0, 3, 1, 2).float() / 255
        logits: Tensor = self.network((pixels - self.mean) / self.std)
        return torch.softmax(logits / self.temperature, dim=1)


def export_onnx(
    served: Served, input_shape: tuple[int, int, int], metadata: Mapping[str, object], path: Path
) -> None:
    """Write the network as one checked ONNX file whose bytes depend on nothing but the network.

    Args:
        served: On the CPU, in fp32.
        input_shape: Height, width and channels.
        metadata: Stored in the file as JSON, by key: the classes and the preprocessing, so that the file explains itself.
        path: Where to write.
    """
    example = torch.zeros((2, *input_shape), dtype=torch.uint8)
    with _quiet():
        program = torch.onnx.export(
            served.eval(),
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes={"images": {0: torch.export.Dim("batch", min=1)}},
            verbose=False,
        )
    if program is None:  # torch's signature allows it; with dynamo it does not happen
        raise RuntimeError("torch.onnx.export returned no program")
    model = program.model_proto
    _strip(model)
    write_onnx(model, metadata, path)


def _strip(model: onnx.ModelProto) -> None:
    """Remove the exporter's notes: stack traces with absolute paths, by which the file would depend on where the clone lies."""
    del model.metadata_props[:]
    model.doc_string = ""
    for item in [
        model.graph,
        *model.graph.node,
        *model.graph.value_info,
        *model.graph.input,
        *model.graph.output,
    ]:
        item.doc_string = ""
        del item.metadata_props[:]
    for initializer in model.graph.initializer:
        initializer.doc_string = ""
    del model.functions[:]


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's notes on its own internals; its errors still raise."""
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
