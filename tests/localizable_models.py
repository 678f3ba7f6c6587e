"""Images with a known object, and a model that recognizes it, with an embedding and class activation maps."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.linear_model import LogisticRegression

from visiongate.models.predictor import open_predictor
from visiongate.records.transform import Transform

SIDE, OBJECT = 32, 8
CLASSES = ("red", "green", "blue")
FILTERS, KERNEL, STRIDE = 24, 5, 4


class Scenes(NamedTuple):
    """Noise with a colored square at a random place: images N×H×W×3, the color's number, and the square, N×H×W."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    objects: npt.NDArray[np.bool_]


def draw_scenes(count: int, seed: int = 0) -> Scenes:
    generator = np.random.default_rng(seed)
    images = generator.integers(60, 150, (count, SIDE, SIDE, 3), dtype=np.uint8)
    labels = np.arange(count) % len(CLASSES)
    objects = np.zeros((count, SIDE, SIDE), dtype=np.bool_)
    for row, (top, left) in enumerate(generator.integers(0, SIDE - OBJECT, (count, 2)).tolist()):
        objects[row, top : top + OBJECT, left : left + OBJECT] = True
    for row, label in enumerate(labels.tolist()):
        images[row][objects[row], label] = 250
    return Scenes(images, labels, objects)


def write_probe(path: Path, seed: int = 0, *, explainable: bool = True) -> None:
    """Write random convolutions with a logistic regression on their means, fitted to scenes.

    Args:
        path: The ONNX file.
        seed: Of the convolutions.
        explainable: Whether the file has further outputs than probabilities.
    """
    kernels = np.random.default_rng(seed).normal(0, 0.2, (FILTERS, 3, KERNEL, KERNEL)).astype(np.float32)
    head = np.zeros((len(CLASSES), FILTERS), dtype=np.float32), np.zeros(len(CLASSES), dtype=np.float32)
    _write(path, kernels, head, explainable=True)
    scenes = draw_scenes(300, seed=100)
    features = open_predictor(path).run(scenes.images, ["embedding"])["embedding"]
    fitted = LogisticRegression(C=100, max_iter=2000).fit(features, scenes.labels)
    weights, bias = fitted.coef_.astype(np.float32), fitted.intercept_.astype(np.float32)
    _write(path, kernels, (weights, bias), explainable=explainable)


def record_transform(path: Path, transform: Transform) -> None:
    """Let a model state other preprocessing, such as that of the images in a workspace."""
    model = onnx.load(path)
    values = asdict(transform)
    props = {"transform": json.dumps(values), "classes": json.dumps(values["classes"])}
    helper.set_model_props(model, props)
    onnx.save(model, path)


def write_random_probe(path: Path, seed: int) -> None:
    """Write a model as `write_probe`, with random instead of fitted weights."""
    generator = np.random.default_rng(seed)
    kernels = generator.normal(0, 0.2, (FILTERS, 3, KERNEL, KERNEL)).astype(np.float32)
    weights = generator.normal(size=(len(CLASSES), FILTERS)).astype(np.float32)
    _write(path, kernels, (weights, np.zeros(len(CLASSES), dtype=np.float32)), explainable=True)


def _write(
    path: Path,
    kernels: npt.NDArray[np.float32],
    head: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]],
    *,
    explainable: bool,
) -> None:
    weights, bias = head
    values = {
        "center": np.full(1, 127.5, np.float32),
        "scale": np.full(1, 1 / 127.5, np.float32),
        "kernels": kernels,
        "pointwise": weights[:, :, None, None],
        "weights": weights,
        "bias": bias,
    }
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["floats", "center"], ["centered"]),
        helper.make_node("Mul", ["centered", "scale"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node(
            "Conv", ["planes", "kernels"], ["responses"], strides=[STRIDE, STRIDE], pads=[2] * 4
        ),
        helper.make_node("Relu", ["responses"], ["features"]),
        helper.make_node("GlobalAveragePool", ["features"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["embedding"]),
        helper.make_node("Conv", ["features", "pointwise"], ["activation_map"]),
        helper.make_node("Gemm", ["embedding", "weights", "bias"], ["logits"], transB=1),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
    ]
    side = SIDE // STRIDE
    shapes: dict[str, list[str | int]] = {
        "probabilities": ["batch", len(CLASSES)],
        "embedding": ["batch", FILTERS],
        "activation_map": ["batch", len(CLASSES), side, side],
    }
    outputs = list(shapes) if explainable else ["probabilities"]
    graph = helper.make_graph(
        nodes,
        "probe",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes[name]) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    transform = {
        "size": SIDE,
        "mode": "RGB",
        "resize": "stretch",
        "mean": [0.42] * 3,
        "std": [0.12] * 3,
        "classes": list(CLASSES),
    }
    helper.set_model_props(model, {"transform": json.dumps(transform), "classes": json.dumps(CLASSES)})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString(deterministic=True))
