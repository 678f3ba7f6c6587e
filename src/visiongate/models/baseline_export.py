"""A fitted baseline as one ONNX file with a network's contract: pooling and calibration are inside."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, TensorProto, helper, numpy_helper

from visiongate.models.onnx_files import INPUT, OPSET, OUTPUT, write_onnx
from visiongate.models.pixel_classifier import FEATURES, SCORES, PixelClassifier
from visiongate.models.pixel_features import Pooling

FLOOR = 1e-6  # the least probability of a class before calibration, for the logarithm of zero is none
IR_VERSION = 10  # that of the networks' files
ML_OPSET = 3  # of ai.onnx.ml, the last whose tree ensemble has many classes by leaf


@dataclass(frozen=True, slots=True)
class ServedBaseline:
    """A fitted classifier between pixels and probabilities."""

    classifier: PixelClassifier
    pooling: Pooling
    classes: int
    temperature: float  # what the logits are divided by; see `visiongate.training.calibration`


def scores_to_logits(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Turn a baseline's probabilities, N×K, into logits that a temperature can divide."""
    return np.log(np.maximum(scores, FLOOR))


def export_baseline(served: ServedBaseline, metadata: Mapping[str, object], path: Path) -> None:
    """Write the classifier as one checked ONNX file whose bytes depend on nothing but the classifier.

    Args:
        served: What to write.
        metadata: Stored in the file as JSON, by key: the classes and the preprocessing, so that the file explains itself.
        path: Where to write.
    """
    fragment = served.classifier.fragment(served.classes)
    pooling_nodes, pooling_constants = _pooling(served.pooling)
    nodes = [*pooling_nodes, *fragment.nodes, *_calibration()]
    constants = {
        **pooling_constants,
        "floor": np.array(FLOOR, dtype=np.float32),
        "temperature": np.array(served.temperature, dtype=np.float32),
    }
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(
        nodes,
        "baseline",
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["batch", *served.pooling.input_shape])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", served.classes])],
        [*initializers, *fragment.initializers],
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
    write_onnx(helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION), metadata, path)


def _pooling(pooling: Pooling) -> tuple[list[NodeProto], dict[str, npt.NDArray[np.generic]]]:
    """From `INPUT` to `FEATURES`, step by step as `Pooling` computes them."""
    height, width, channels = pooling.input_shape
    constants: dict[str, npt.NDArray[np.generic]] = {
        "row_weights": pooling.row_weights,
        "column_weights": pooling.column_weights,
        "divisor": np.asarray(pooling.divisor),
        "by_rows": np.array([-1, height, width * channels]),
        "by_columns": np.array([-1, width, channels]),
        "flat": np.array([-1, int(np.prod(pooling.shape))]),
    }
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(pooling.dtype))
    nodes = [
        helper.make_node("Cast", [INPUT], ["pixels"], to=kind),
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
    """From `SCORES` to `OUTPUT`."""
    return [
        helper.make_node("Max", [SCORES, "floor"], ["floored"]),
        helper.make_node("Log", ["floored"], ["logits"]),
        helper.make_node("Div", ["logits", "temperature"], ["calibrated"]),
        helper.make_node("Softmax", ["calibrated"], [OUTPUT], axis=1),
    ]
