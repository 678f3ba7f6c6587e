"""Test-time augmentation inside the exported graph: the average of an image and its mirror image.

Both pass through the model in one batch of twice the size. The embedding is averaged, and the activation map, whose mirror
image is flipped back. The logits are linear in both, so that this averages them, too. Without an embedding, the logits are
averaged.
"""

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

from visiongate.models.calibrated_graph import find_calibration
from visiongate.models.predictor import ACTIVATION_MAP, EMBEDDING, INPUT

# The axis of the width in images, N×H×W×C, and in activation maps, N×K×h×w.
IMAGE_WIDTH, MAP_WIDTH = 2, 3
BOTH = "images_and_mirrored"


def average_flip(model: ModelProto) -> None:
    """Change a graph so that it averages each image and its mirror image.

    Args:
        model: Its probabilities are a softmax of logits divided by a temperature.
    """
    nodes = [
        *_flip(INPUT, "mirrored", IMAGE_WIDTH),
        helper.make_node("Concat", [INPUT, "mirrored"], [BOTH], axis=0),
    ]
    averages = {f"{tensor}_both": _average(f"{tensor}_both", tensor) for tensor in _averaged(model)}
    for node in model.graph.node:
        node.input[:] = [BOTH if name == INPUT else name for name in node.input]
        node.output[:] = [f"{name}_both" if f"{name}_both" in averages else name for name in node.output]
        nodes += [node, *(each for name in node.output for each in averages.get(name, []))]
    _replace_nodes(model, nodes)


def _averaged(model: ModelProto) -> set[str]:
    """Return the tensors that are averaged. The logits are computed from the embedding, if there is one."""
    outputs = {output.name for output in model.graph.output}
    first = EMBEDDING if EMBEDDING in outputs else find_calibration(model).logits
    return {first} | (outputs & {ACTIVATION_MAP})


def _replace_nodes(model: ModelProto, nodes: list[NodeProto]) -> None:
    copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)
    # Between the two ends, there are twice as many images as these shapes state.
    del model.graph.value_info[:]
    constants = {"flip_step": [-1], "flip_last": [-1], "flip_first": [np.iinfo(np.int64).min]}
    constants |= {f"flip_axis_{axis}": [axis] for axis in (IMAGE_WIDTH, MAP_WIDTH)}
    model.graph.initializer.extend(
        numpy_helper.from_array(np.array(value, dtype=np.int64), name) for name, value in constants.items()
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array(0.5, dtype=np.float32), "flip_half"))


def _average(both: str, tensor: str) -> list[NodeProto]:
    """Return the nodes from the values of both images to their average."""
    direct, mirrored, back = (f"{both}_{name}" for name in ("direct", "mirrored", "back"))
    is_map = tensor == ACTIVATION_MAP
    return [
        helper.make_node("Split", [both], [direct, mirrored], axis=0, num_outputs=2),
        *(_flip(mirrored, back, MAP_WIDTH) if is_map else []),
        helper.make_node("Add", [direct, back if is_map else mirrored], [f"{both}_sum"]),
        helper.make_node("Mul", [f"{both}_sum", "flip_half"], [tensor]),
    ]


def _flip(tensor: str, output: str, axis: int) -> list[NodeProto]:
    inputs = [tensor, "flip_last", "flip_first", f"flip_axis_{axis}", "flip_step"]
    return [helper.make_node("Slice", inputs, [output])]
