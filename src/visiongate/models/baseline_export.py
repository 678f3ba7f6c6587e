"""Export a fitted baseline to one ONNX file with the inputs and outputs of a network's file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, TensorProto, helper, numpy_helper

from visiongate.models.onnx_files import OPSET, write_onnx
from visiongate.models.pixel_classifier import FEATURES, SCORES, PixelClassifier
from visiongate.models.pixel_features import Pooling
from visiongate.models.predictor import INPUT, PROBABILITIES

# The lower bound of a probability before its logarithm is taken.
MIN_PROBABILITY = 1e-6
# The version of the networks' files.
IR_VERSION = 10
# Of ai.onnx.ml: the last opset whose tree ensemble stores a weight per leaf and class.
ML_OPSET = 3

Constants = dict[str, npt.NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class ServingBaseline:
    """A fitted classifier with preprocessing before it and calibrated probabilities after it."""

    classifier: PixelClassifier
    pooling: Pooling
    classes: int
    # Divides the logits; see `visiongate.training.calibration`.
    temperature: float


def scores_to_logits(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the logits of a baseline's probabilities, N×K."""
    return np.log(np.maximum(scores, MIN_PROBABILITY))


def export_baseline(baseline: ServingBaseline, metadata: Mapping[str, object], path: Path) -> None:
    """Write a baseline as one checked ONNX file; equal baselines give equal bytes.

    Args:
        baseline: The baseline.
        metadata: See `write_onnx`.
        path: The file to write.
    """
    fragment = baseline.classifier.fragment(baseline.classes)
    pooling_nodes, constants = _pooling(baseline.pooling)
    constants["floor"] = np.array(MIN_PROBABILITY, dtype=np.float32)
    constants["temperature"] = np.array(baseline.temperature, dtype=np.float32)
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(
        [*pooling_nodes, *fragment.nodes, *_calibration()],
        "baseline",
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["batch", *baseline.pooling.input_shape])],
        [helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, ["batch", baseline.classes])],
        [*initializers, *fragment.initializers],
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
    write_onnx(helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION), metadata, path)


def _pooling(pooling: Pooling) -> tuple[list[NodeProto], Constants]:
    """Return the nodes from `INPUT` to `FEATURES`, which compute what `Pooling` computes, and their constants."""
    height, width, channels = pooling.input_shape
    constants: Constants = {
        "row_weights": pooling.row_weights,
        "column_weights": pooling.column_weights,
        "divisor": np.asarray(pooling.divisor),
        "by_rows": np.array([-1, height, width * channels]),
        "by_columns": np.array([-1, width, channels]),
        "flat": np.array([-1, int(np.prod(pooling.shape))]),
    }
    float_type = helper.np_dtype_to_tensor_dtype(np.dtype(pooling.dtype))
    nodes = [
        helper.make_node("Cast", [INPUT], ["pixels"], to=float_type),
        helper.make_node("Reshape", ["pixels", "by_rows"], ["pixel_rows"]),
        helper.make_node("MatMul", ["row_weights", "pixel_rows"], ["row_sums"]),
        helper.make_node("Reshape", ["row_sums", "by_columns"], ["pixel_columns"]),
        helper.make_node("MatMul", ["column_weights", "pixel_columns"], ["sums"]),
        helper.make_node("Reshape", ["sums", "flat"], ["flat_sums"]),
        helper.make_node("Div", ["flat_sums", "divisor"], ["means"]),
        helper.make_node("Cast", ["means"], [FEATURES], to=TensorProto.FLOAT),
    ]
    return nodes, constants


def _calibration() -> list[NodeProto]:
    """Return the nodes from `SCORES` to `PROBABILITIES`."""
    return [
        helper.make_node("Max", [SCORES, "floor"], ["floored"]),
        helper.make_node("Log", ["floored"], ["logits"]),
        helper.make_node("Div", ["logits", "temperature"], ["calibrated"]),
        helper.make_node("Softmax", ["calibrated"], [PROBABILITIES], axis=1),
    ]
