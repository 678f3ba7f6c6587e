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

from visiongate.models.embedding_networks import LOGITS, EmbeddingNetwork
from visiongate.models.normalization import ChannelStatistics, Normalization
from visiongate.models.onnx_files import OPSET, write_onnx
from visiongate.models.predictor import INPUT, PROBABILITIES


class ServingNetwork(nn.Module):
    """A network with preprocessing before it, and calibrated probabilities and further outputs after it.

    Args:
        network: Maps normalized float images, N×C×H×W, to logits, N×K.
        statistics: Of the images that the network was trained on.
        temperature: Divides the logits; see `visiongate.training.calibration`.
    """

    def __init__(self, network: nn.Module, statistics: ChannelStatistics, temperature: float) -> None:
        super().__init__()
        self.network = network
        self.normalize = Normalization(statistics)
        self.temperature = temperature

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the outputs by name, of uint8 images, N×H×W×C."""
        normalized = self.normalize(images.permute(0, 3, 1, 2).float() / 255)
        if isinstance(self.network, EmbeddingNetwork):
            outputs = self.network.outputs(normalized)
            logits = outputs.pop(LOGITS)
        else:
            outputs, logits = {}, self.network(normalized)
        return {PROBABILITIES: torch.softmax(logits / self.temperature, dim=1), **outputs}


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
    write_onnx(export_graph(network, input_shape), metadata, path)


def export_graph(network: nn.Module, input_shape: tuple[int, int, int]) -> onnx.ModelProto:
    """Return a network as an ONNX graph; equal networks give equal graphs.

    Args:
        network: On the CPU, in fp32. Maps uint8 ``images``, N×H×W×C, to outputs by name.
        input_shape: Height, width and channels.
    """
    example = torch.zeros((2, *input_shape), dtype=torch.uint8)
    with torch.no_grad():
        names = list(network.eval()(example))
    with _silenced():
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=names,
            dynamic_shapes={"images": {0: torch.export.Dim("batch", min=1)}},
            verbose=False,
        )
    # torch's annotation allows None, which dynamo=True never returns.
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    model = program.model_proto
    _remove_notes(model)
    return model


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
