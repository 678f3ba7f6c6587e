"""A model that is made and evaluated in milliseconds, in the format that `train` exports."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE = 4
CLASSES = ("dark", "bright")


def brightness_images(count: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Images of one color, evenly from black to white, and whether each is of the brighter half."""
    levels = np.linspace(0, 255, count).astype(np.uint8)
    images = np.broadcast_to(levels[:, None, None, None], (count, SIDE, SIDE, 1)).copy()
    return images, (levels > 127).astype(np.int64)


def write_threshold_model(
    path: Path,
    threshold: float = 127.5,
    classes: tuple[str, ...] = CLASSES,
    side: int = SIDE,
    padding: int = 0,
) -> None:
    """Write an ONNX model that calls an image bright when its mean lies above the threshold, 0..255; padding adds bytes."""
    pixels = side * side
    weights = np.zeros((pixels, len(classes)), dtype=np.float32)
    weights[:, 1] = 1 / pixels
    bias = np.array([threshold, *[0] * (len(classes) - 1)], dtype=np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("Flatten", ["floats"], ["flat"]),
            helper.make_node("Gemm", ["flat", "weights", "bias"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"]),
        ],
        "threshold",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", side, side, 1])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", len(classes)])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(bias, "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    props = {"transform": json.dumps(transform(classes, side)), "classes": json.dumps(classes)}
    helper.set_model_props(model, props | ({"padding": "." * padding} if padding else {}))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def add_reliability(path: Path, reliability: Mapping[str, float | None]) -> None:
    """Add thresholds to a model, and a novelty: the brightest pixel of an image."""
    model = onnx.load(path)
    model.graph.node.append(helper.make_node("ReduceMax", ["flat", "pixels"], ["novelty"], keepdims=0))
    model.graph.initializer.append(numpy_helper.from_array(np.array([1]), "pixels"))
    model.graph.output.append(helper.make_tensor_value_info("novelty", TensorProto.FLOAT, ["batch"]))
    model.metadata_props.add(key="reliability", value=json.dumps(reliability))
    path.write_bytes(model.SerializeToString(deterministic=True))


def transform(classes: Sequence[str] = CLASSES, side: int = SIDE, mode: str = "L") -> dict[str, object]:
    """The content of ``transform.json``."""
    return {
        "size": side,
        "mode": mode,
        "resize": "stretch",
        "mean": [0.5] * len(mode),
        "std": [0.3] * len(mode),
        "classes": list(classes),
    }
