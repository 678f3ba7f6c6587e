"""A linear probe: multinomial logistic regression on the features of a frozen backbone.

Source: Alain and Bengio, Understanding intermediate layers using linear classifier probes, 2016.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper
from threadpoolctl import threadpool_limits

from visiongate.images.pixels import Labels
from visiongate.models.feature_cache import Features
from visiongate.models.onnx_files import write_onnx
from visiongate.models.predictor import ACTIVATION_MAP, BATCH, EMBEDDING, PROBABILITIES

# The output of a backbone's graph besides `EMBEDDING`: the features by place, float32 N×D×h×w.
FEATURE_MAP = "feature_map"
LOGITS = "logits"
# Of L-BFGS. Reaching it is not an error.
MAX_ITERATIONS = 1000
# The intercept of a class without training images. Its probability is then 0, and nothing overflows.
ABSENT_CLASS_INTERCEPT = -1e4

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class LinearHead:
    """The layer that maps features to logits: weights, K×D, and bias, K."""

    weights: Floats
    bias: Floats

    def logits(self, features: Features) -> Floats:
        """Return the logits, N×K, of features, N×D."""
        logits: Floats = features @ self.weights.T + self.bias
        return logits


def fit_head(
    features: Features, labels: Labels, classes: int, strength: float, *, is_balanced: bool = False
) -> LinearHead:
    """Fit a head on centered and scaled features; it contains both steps.

    Args:
        features: float32, N×D.
        labels: N, of at least two classes.
        classes: Number of classes, K.
        strength: C, the inverse of the regularization strength.
        is_balanced: Give all classes the same weight, however many images they have.
    """
    from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415 - slow to import
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - slow to import

    mean = features.mean(axis=0, dtype=np.float64)
    centered = features - mean
    # One for all features: with few images, the deviation of a single feature is mostly chance.
    scale = float(centered.std()) or 1.0
    class_weight = "balanced" if is_balanced else None
    regression = LogisticRegression(C=strength, max_iter=MAX_ITERATIONS, class_weight=class_weight)
    # One thread, as in `models.baselines.logistic_regression`.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        regression.fit(centered / scale, labels)
    weights, bias = regression.coef_, regression.intercept_
    if len(weights) == 1:
        # scikit-learn stores the logit of the second of two classes. Halves keep the two symmetric.
        weights, bias = np.concatenate([-weights, weights]) / 2, np.concatenate([-bias, bias]) / 2
    weights = weights / scale
    head = LinearHead(
        np.zeros((classes, features.shape[1]), np.float32),
        np.full(classes, ABSENT_CLASS_INTERCEPT, np.float32),
    )
    head.weights[regression.classes_] = weights
    head.bias[regression.classes_] = bias - weights @ mean
    return head


def export_probe(
    backbone: onnx.ModelProto,
    head: LinearHead,
    temperature: float,
    metadata: Mapping[str, object],
    path: Path,
) -> None:
    """Write a probe as one checked ONNX file; equal probes give equal bytes.

    Args:
        backbone: From pixels to `EMBEDDING` and `FEATURE_MAP`.
        head: The linear layer.
        temperature: Divides the logits.
        metadata: See `write_onnx`.
        path: The file to write.
    """
    model = onnx.ModelProto()
    model.CopyFrom(backbone)
    shapes = {output.name: output.type.tensor_type.shape.dim for output in model.graph.output}
    nodes, outputs = (
        _head_nodes(),
        {PROBABILITIES: [BATCH, len(head.bias)], EMBEDDING: [BATCH, head.weights.shape[1]]},
    )
    constants = {"head.weights": head.weights, "head.bias": head.bias, "temperature": np.float32(temperature)}
    if FEATURE_MAP in shapes:
        nodes += _map_nodes()
        outputs[ACTIVATION_MAP] = [
            BATCH,
            len(head.bias),
            *(size.dim_value for size in shapes[FEATURE_MAP][2:]),
        ]
        constants["head.places"] = np.array([2, 3])
    del model.graph.output[:]
    model.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()
    )
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()
    )
    write_onnx(model, metadata, path)


def _head_nodes() -> list[NodeProto]:
    """Return the nodes from `EMBEDDING` to `PROBABILITIES`."""
    return [
        helper.make_node("Gemm", [EMBEDDING, "head.weights", "head.bias"], [LOGITS], transB=1),
        helper.make_node("Div", [LOGITS, "temperature"], ["calibrated"]),
        helper.make_node("Softmax", ["calibrated"], [PROBABILITIES], axis=1),
    ]


def _map_nodes() -> list[NodeProto]:
    """Return the nodes from `FEATURE_MAP` to `ACTIVATION_MAP`: the head at each place."""
    return [
        helper.make_node("Unsqueeze", ["head.weights", "head.places"], ["head.kernel"]),
        helper.make_node("Conv", [FEATURE_MAP, "head.kernel"], [ACTIVATION_MAP]),
    ]
