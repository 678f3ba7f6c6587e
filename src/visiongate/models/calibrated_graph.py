"""The end of every exported graph: ``Softmax(Div(logits, temperature))``, which gives the probabilities."""

from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto, numpy_helper

from visiongate.models.predictor import PROBABILITIES


@dataclass(frozen=True, slots=True)
class Calibration:
    """The names of the logits, N×K, and of the temperature, a constant, in a graph."""

    logits: str
    temperature: str


def find_calibration(model: ModelProto) -> Calibration:
    """Return the names of the logits and of the temperature.

    Raises:
        ValueError: The graph does not end in a softmax of divided logits.
    """
    softmax = find_producer(model, PROBABILITIES)
    division = find_producer(model, softmax.input[0])
    if (softmax.op_type, division.op_type) != ("Softmax", "Div"):
        raise ValueError(f"{PROBABILITIES!r} is not a softmax of logits divided by a temperature")
    return Calibration(*division.input)


def set_temperature(model: ModelProto, temperature: float) -> None:
    """Replace the temperature of a graph."""
    name = find_calibration(model).temperature
    (constant,) = (each for each in model.graph.initializer if each.name == name)
    constant.CopyFrom(numpy_helper.from_array(np.array(temperature, dtype=np.float32), name))


def find_producer(model: ModelProto, tensor: str) -> NodeProto:
    """Return the node that computes a tensor.

    Raises:
        ValueError: There is none.
    """
    node: NodeProto | None = next((each for each in model.graph.node if tensor in each.output), None)
    if node is None:
        raise ValueError(f"no node computes {tensor!r}")
    return node
