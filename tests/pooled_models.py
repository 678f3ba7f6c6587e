"""A model that ends in pooling and a linear layer, with an embedding and an activation map, made in milliseconds."""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

SIDE, FEATURES, CLASSES = 8, 6, ("a", "b", "c")


def write_pooled_model(path: Path, temperature: float = 2.0, *, embedding: bool = True) -> None:
    """Write a model with random weights that a mirror image changes; without the embedding, it has probabilities only."""
    generator = np.random.default_rng(0)
    constants: dict[str, npt.NDArray[np.generic]] = {
        "kernel": generator.standard_normal((FEATURES, 1, 3, 3), np.float32),
        "weights": generator.standard_normal((len(CLASSES), FEATURES), np.float32),
        "bias": generator.standard_normal(len(CLASSES), np.float32),
        "scale": np.array(255, np.float32),
        "places": np.array([2, 3]),
        "temperature": np.array(temperature, np.float32),
    }
    constants["map_kernel"] = constants["weights"][:, :, None, None]
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["pixels", "scale"], ["shares"]),
        helper.make_node("Transpose", ["shares"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "kernel"], ["convolved"], strides=[2, 2], name="convolution"),
        helper.make_node("Relu", ["convolved"], ["features"], name="relu"),
        helper.make_node("ReduceMean", ["features", "places"], ["embedding"], keepdims=0),
        helper.make_node("Conv", ["features", "map_kernel"], ["activation_map"], name="map"),
        helper.make_node("Gemm", ["embedding", "weights", "bias"], ["logits"], transB=1),
        helper.make_node("Div", ["logits", "temperature"], ["calibrated"]),
        helper.make_node("Softmax", ["calibrated"], ["probabilities"], axis=1),
    ]
    outputs: dict[str, list[int | str]] = {"probabilities": ["batch", len(CLASSES)]}
    if embedding:
        outputs |= {"embedding": ["batch", FEATURES], "activation_map": ["batch", len(CLASSES), 3, 3]}
    graph = helper.make_graph(
        nodes,
        "pooled",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", SIDE, SIDE, 1])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    transform = {"size": SIDE, "mode": "L", "resize": "stretch", "classes": list(CLASSES)}
    metadata = {"classes": list(CLASSES), "transform": transform, "temperature": temperature}
    helper.set_model_props(model, {name: json.dumps(value) for name, value in metadata.items()})
    path.write_bytes(model.SerializeToString(deterministic=True))


def random_images(count: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Images without structure."""
    return np.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE, 1), dtype=np.uint8)
