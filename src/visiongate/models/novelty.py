"""Novelty: how unlike the training images an image is. It is one more output of the exported graph.

With an embedding, it is the Mahalanobis distance of the embedding, scaled to unit length, to the nearest mean of a class, in
standard deviations per dimension: Lee, K. et al. (2018), A simple unified framework for detecting out-of-distribution samples,
NeurIPS; for unit length, Müller, M., Hein, M. (2025), Mahalanobis++: improving OOD detection via feature normalization, ICML.
The covariance within the classes has its first principal components and one variance for the rest, so that few images are
enough and the file stays small: Tipping, M. E., Bishop, C. M. (1999), Probabilistic principal component analysis, JRSS B 61.

Without an embedding it is the energy, -log Σ exp(logit): Liu, W. et al. (2020), Energy-based out-of-distribution detection,
NeurIPS.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from visiongate.images.pixels import Labels
from visiongate.models.calibrated_graph import find_calibration
from visiongate.models.predictor import EMBEDDING, NOVELTY

Floats = npt.NDArray[np.float32]

# The share of the variance that the kept components explain.
EXPLAINED = 0.8
# Of embeddings, and of the variance of a dimension: smaller ones are those of a network that has learned nothing.
MIN_LENGTH, MIN_VARIANCE = 1e-6, 1e-12


@dataclass(frozen=True, slots=True)
class EmbeddingDistance:
    """The squared Mahalanobis distance per dimension of a vector z of unit length to K means of classes.

    With c = z - center, it is ``precision`` · |c|² - |c · ``components``|² - 2 c · ``directions`` + ``offsets``.

    Attributes:
        center: D, the mean of all training images.
        precision: Of the dimensions without component.
        components: D×R. Along them, the precision is lower.
        directions: D×K.
        offsets: K.
    """

    center: Floats
    precision: Floats
    components: Floats
    directions: Floats
    offsets: Floats


def fit_distance(embeddings: Floats, labels: Labels) -> EmbeddingDistance | None:
    """Fit means and covariance to training images.

    Args:
        embeddings: N×D.
        labels: N.

    Returns:
        The distance; None if D is 1.
    """
    width = embeddings.shape[1]
    if width == 1:
        return None
    vectors = embeddings.astype(np.float64)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), MIN_LENGTH)
    center = vectors.mean(axis=0)
    vectors -= center
    present, numbers = np.unique(labels, return_inverse=True)
    means = np.stack([vectors[numbers == number].mean(axis=0) for number in range(len(present))])
    variances, axes, rest = _decompose(vectors - means[numbers])
    precision = 1 / rest / width
    components = axes.T * np.sqrt(np.maximum(precision - 1 / variances / width, 0))
    projected = means @ components
    directions = precision * means - projected @ components.T
    offsets = (means * directions).sum(axis=1)
    values = (center, np.array(precision), components, directions.T, offsets)
    return EmbeddingDistance(*(np.ascontiguousarray(value, dtype=np.float32) for value in values))


def _decompose(
    vectors: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], float]:
    """Return the variances, R, and axes, R×D, of the first components of centered vectors, and the variance of the others."""
    count, width = vectors.shape
    _, singular, axes = np.linalg.svd(vectors, full_matrices=False)
    variances = np.maximum(singular**2 / count, MIN_VARIANCE)
    explained = np.cumsum(variances)
    kept = min(int(np.searchsorted(explained, EXPLAINED * explained[-1])) + 1, width - 1)
    rest = float(explained[-1] - explained[kept - 1]) / (width - kept)
    return variances[:kept], axes[:kept], max(rest, MIN_VARIANCE)


def add_novelty(model: ModelProto, distance: EmbeddingDistance | None) -> None:
    """Add the output `NOVELTY`, float32 N, to a graph.

    Args:
        model: It has the output `EMBEDDING` if a distance is given.
        distance: Of embeddings; None for the energy of the logits.
    """
    constants: dict[str, npt.NDArray[np.generic]] = {"novelty_axis": np.array([1])}
    if distance is None:
        nodes = _energy(find_calibration(model).logits)
    else:
        nodes = _distance()
        constants |= {f"novelty_{name}": getattr(distance, name) for name in distance.__slots__}
        limits = {"novelty_zero": 0.0, "novelty_min_length": MIN_LENGTH}
        constants |= {name: np.array(value, dtype=np.float32) for name, value in limits.items()}
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    model.graph.output.append(helper.make_tensor_value_info(NOVELTY, TensorProto.FLOAT, ["batch"]))


def _distance() -> list[NodeProto]:
    return [
        _reduce("ReduceL2", EMBEDDING, "novelty_length", keepdims=1),
        _node("Max", "novelty_length", "novelty_min_length", output="novelty_divisor"),
        _node("Div", EMBEDDING, "novelty_divisor", output="novelty_unit"),
        _node("Sub", "novelty_unit", "novelty_center", output="novelty_centered"),
        _reduce("ReduceSumSquare", "novelty_centered", "novelty_square", keepdims=1),
        _node("Mul", "novelty_square", "novelty_precision", output="novelty_total"),
        _node("MatMul", "novelty_centered", "novelty_components", output="novelty_projected"),
        _reduce("ReduceSumSquare", "novelty_projected", "novelty_explained", keepdims=1),
        _node("Sub", "novelty_total", "novelty_explained", output="novelty_to_center"),
        helper.make_node(
            "Gemm",
            ["novelty_centered", "novelty_directions", "novelty_offsets"],
            ["novelty_shift"],
            alpha=-2.0,
        ),
        _node("Add", "novelty_to_center", "novelty_shift", output="novelty_to_means"),
        _reduce("ReduceMin", "novelty_to_means", "novelty_nearest", keepdims=0),
        # Rounding must not make the square of a distance negative.
        _node("Max", "novelty_nearest", "novelty_zero", output="novelty_positive"),
        _node("Sqrt", "novelty_positive", output=NOVELTY),
    ]


def _energy(logits: str) -> list[NodeProto]:
    return [
        _reduce("ReduceLogSumExp", logits, "novelty_free", keepdims=0),
        _node("Neg", "novelty_free", output=NOVELTY),
    ]


def _node(kind: str, *inputs: str, output: str) -> NodeProto:
    return helper.make_node(kind, inputs, [output])


def _reduce(kind: str, tensor: str, output: str, keepdims: int) -> NodeProto:
    return helper.make_node(kind, [tensor, "novelty_axis"], [output], keepdims=keepdims)
