"""The two parts of a model with an embedding: from pixels to the embedding, and from the embedding to the other outputs."""

import hashlib
from dataclasses import dataclass

import onnx
from onnx.utils import Extractor

from visiongate.models.predictor import BATCH, EMBEDDING, INPUT, NOVELTY, PROBABILITIES


@dataclass(frozen=True, slots=True)
class FeatureGraph:
    """A part of a model as the content of an ONNX file.

    Attributes:
        content: Of the file.
        sha256: Of the content, in hexadecimal. Models with the same frozen backbone have the same.
        size: Features of an image.
    """

    content: bytes
    sha256: str
    size: int


def feature_graph(model: onnx.ModelProto) -> FeatureGraph:
    """Return the part from `INPUT` to `EMBEDDING`."""
    content = _extract(model, INPUT, [EMBEDDING])
    [embedding] = [output for output in model.graph.output if output.name == EMBEDDING]
    size = embedding.type.tensor_type.shape.dim[1].dim_value
    return FeatureGraph(content, hashlib.sha256(content).hexdigest(), size)


def head_graph(model: onnx.ModelProto) -> bytes:
    """Return the part from `EMBEDDING` to `PROBABILITIES`, and to `NOVELTY` if the model has it."""
    outputs = [each.name for each in model.graph.output if each.name in {PROBABILITIES, NOVELTY}]
    return _extract(model, EMBEDDING, outputs)


def _extract(model: onnx.ModelProto, source: str, outputs: list[str]) -> bytes:
    part = Extractor(model).extract_model([source], outputs)
    # The types of intermediate values, names of dimensions and comments differ by the writer of the model.
    del part.graph.value_info[:]
    for value in (*part.graph.input, *part.graph.output):
        value.ClearField("doc_string")
        value.type.tensor_type.shape.dim[0].dim_param = BATCH
    content: bytes = part.SerializeToString(deterministic=True)
    return content
