"""Test-time augmentation inside the exported graph: the average of several views of an image.

All views pass through the model in one batch. The embedding is averaged, and the activation map, whose mirror image is flipped
back; a shift by one pixel is below the map's resolution. The logits are linear in both, so that this averages them, too.
Without an embedding, the logits are averaged.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, helper, numpy_helper

from visiongate.models.calibrated_graph import find_calibration
from visiongate.models.predictor import ACTIVATION_MAP, EMBEDDING, INPUT


class View(NamedTuple):
    """An image as it is, or mirrored left to right, after a shift down and right by a number of pixels; 0, 1 or -1.

    The border is reflected. The weights of all views add up to 1.
    """

    is_mirrored: bool
    shift: int
    weight: float


# By ``training.export.tta``. Source of flip_shift: K. Jordan, 94% on CIFAR-10 in 3.29 Seconds on a Single GPU, 2024, section
# 3.5.
VIEWS: dict[str, Sequence[View]] = {
    "none": [View(is_mirrored=False, shift=0, weight=1.0)],
    "flip": [View(is_mirrored, 0, 1 / 2) for is_mirrored in (False, True)],
    "flip_shift": [
        View(is_mirrored, shift, 1 / 8 if shift else 1 / 4)
        for shift in (0, 1, -1)
        for is_mirrored in (False, True)
    ],
}
ALL = "all_views"
# The axis of the width in images, N×H×W×C, and in activation maps, N×K×h×w.
IMAGE_WIDTH, MAP_WIDTH = 2, 3
FIRST, LAST = np.iinfo(np.int64).min, np.iinfo(np.int64).max
# Of an image that is padded by one pixel: where its height and width start and end, by shift.
WINDOWS = {1: (0, -2), -1: (2, LAST)}


def average_views(model: ModelProto, views: Sequence[View]) -> None:
    """Change a graph so that it averages views of each image.

    Args:
        model: Its probabilities are a softmax of logits divided by a temperature.
        views: Two or more.
    """
    graph = _Nodes(model)
    shifted = {0: INPUT}
    if shifts := {view.shift for view in views} - {0}:
        pads = graph.constant("view_pads", np.array([0, 1, 1, 0] * 2))
        padded = graph.add("Pad", [INPUT, pads], "padded", mode="reflect")
        for shift in sorted(shifts):
            shifted[shift] = graph.slice(padded, f"shifted_{shift}", (1, IMAGE_WIDTH), *WINDOWS[shift])
    images = [
        graph.flip(shifted[view.shift], f"mirrored_{view.shift}", IMAGE_WIDTH)
        if view.is_mirrored
        else shifted[view.shift]
        for view in views
    ]
    graph.add("Concat", images, ALL, axis=0)
    averaged = _averaged(model)
    for node in model.graph.node:
        node.input[:] = [ALL if name == INPUT else name for name in node.input]
        outputs = list(node.output)
        node.output[:] = [f"{name}_{ALL}" if name in averaged else name for name in outputs]
        graph.nodes.append(node)
        for name in averaged.intersection(outputs):
            _average(graph, name, views)
    graph.write()


def _averaged(model: ModelProto) -> set[str]:
    """Return the tensors that are averaged. The logits are computed from the embedding, if there is one."""
    outputs = {output.name for output in model.graph.output}
    first = EMBEDDING if EMBEDDING in outputs else find_calibration(model).logits
    return {first} | (outputs & {ACTIVATION_MAP})


def _average(graph: "_Nodes", tensor: str, views: Sequence[View]) -> None:
    """Add the nodes from the values of all views to their average."""
    parts = [f"{tensor}_{number}" for number in range(len(views))]
    graph.nodes.append(helper.make_node("Split", [f"{tensor}_{ALL}"], parts, axis=0, num_outputs=len(views)))
    weighted = []
    for part, view in zip(parts, views, strict=True):
        is_back = view.is_mirrored and tensor == ACTIVATION_MAP
        source = graph.flip(part, f"{part}_back", MAP_WIDTH) if is_back else part
        weight = graph.constant(f"view_weight_{view.weight}", np.array(view.weight, dtype=np.float32))
        weighted.append(graph.add("Mul", [source, weight], f"{part}_weighted"))
    graph.add("Sum", weighted, tensor)


class _Nodes:
    """Collects the nodes and constants of a changed graph."""

    def __init__(self, model: ModelProto) -> None:
        self._graph = model.graph
        self.nodes: list[NodeProto] = []
        self._constants: dict[str, npt.NDArray[np.generic]] = {}

    def add(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:  # noqa: ANN401 - onnx's
        """Add a node, and return its output."""
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def constant(self, name: str, value: npt.NDArray[np.generic]) -> str:
        """Add a constant, and return its name."""
        self._constants[name] = value
        return name

    def slice(self, tensor: str, output: str, axes: Sequence[int], start: int, end: int) -> str:
        """Add a slice that is the same along each axis, and return its output."""
        values = {"start": [start] * len(axes), "end": [end] * len(axes), "axes": list(axes)}
        names = [self.constant(f"{output}_{name}", np.array(value)) for name, value in values.items()]
        return self.add("Slice", [tensor, *names], output)

    def flip(self, tensor: str, output: str, axis: int) -> str:
        """Reverse a tensor along an axis, and return the output."""
        values = {"last": -1, "first": FIRST, f"axis_{axis}": axis, "step": -1}
        names = [self.constant(f"flip_{name}", np.array([value])) for name, value in values.items()]
        return self.add("Slice", [tensor, *names], output)

    def write(self) -> None:
        """Replace the nodes of the graph."""
        copies = [NodeProto.FromString(node.SerializeToString()) for node in self.nodes]
        del self._graph.node[:]
        self._graph.node.extend(copies)
        # Between the two ends, there are several times as many images as these shapes state.
        del self._graph.value_info[:]
        constants = (numpy_helper.from_array(value, name) for name, value in self._constants.items())
        self._graph.initializer.extend(constants)
