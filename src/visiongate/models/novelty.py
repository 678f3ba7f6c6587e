"""Novelty: how unlike the training images an image is. It is one more output of the exported graph.

With an embedding, it is the share of its length that the principal components of the training embeddings do not explain, 0 for
an image like those, at most about 1: Guan, X. et al. (2023), Revisit PCA-based technique for out-of-distribution detection,
ICCV; the residual is that of Wang, H. et al. (2022), ViM: out-of-distribution with virtual-logit matching, CVPR. On features of
a frozen backbone it finds more foreign images than Mahalanobis distances, nearest neighbors or energy, and it is a small matrix
(docs/reliability.md).

Without an embedding it is the energy, -log Σ exp(logit): Liu, W. et al. (2020), Energy-based out-of-distribution detection,
NeurIPS.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from visiongate.models.calibrated_graph import find_calibration
from visiongate.models.predictor import EMBEDDING, NOVELTY

Floats = npt.NDArray[np.float32]

# The share of the variance that the kept components explain. Between 0.7 and 0.95, the results are the same.
EXPLAINED = 0.8
# Shorter embeddings are those of a network that is dead.
MIN_LENGTH = 1e-6


@dataclass(frozen=True, slots=True)
class PrincipalComponents:
    """The mean, D, and the first components, D×R with R < D, of embeddings."""

    mean: Floats
    components: Floats


def fit_principal_components(embeddings: Floats) -> PrincipalComponents | None:
    """Return the components that explain `EXPLAINED` of the variance of embeddings, N×D; None if D is 1 or N is 0."""
    count, width = embeddings.shape
    if width == 1 or count == 0:
        return None
    mean = embeddings.mean(axis=0, dtype=np.float64)
    _, singular, directions = np.linalg.svd(embeddings - mean, full_matrices=False)
    explained = np.cumsum(singular**2)
    kept = int(np.searchsorted(explained, EXPLAINED * explained[-1])) + 1
    return PrincipalComponents(
        mean.astype(np.float32), directions[: min(kept, width - 1)].T.astype(np.float32).copy()
    )


def add_novelty(model: ModelProto, principal: PrincipalComponents | None) -> None:
    """Add the output `NOVELTY`, float32 N, to a graph.

    Args:
        model: It has the output `EMBEDDING` if there are components.
        principal: Of the embeddings; None for the energy of the logits.
    """
    if principal is None:
        nodes = _energy(find_calibration(model).logits)
        constants: dict[str, npt.NDArray[np.generic]] = {"novelty_classes": np.array([1])}
    else:
        nodes = _residual_share()
        constants = {
            "novelty_mean": principal.mean,
            "novelty_components": principal.components,
            "novelty_features": np.array([1]),
            "novelty_zero": np.array(0, dtype=np.float32),
            "novelty_min_length": np.array(MIN_LENGTH, dtype=np.float32),
        }
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    model.graph.output.append(helper.make_tensor_value_info(NOVELTY, TensorProto.FLOAT, ["batch"]))


def _residual_share() -> list[NodeProto]:
    return [
        helper.make_node("Sub", [EMBEDDING, "novelty_mean"], ["novelty_centered"]),
        helper.make_node("MatMul", ["novelty_centered", "novelty_components"], ["novelty_scores"]),
        _reduce("ReduceSumSquare", "novelty_centered", "novelty_total"),
        _reduce("ReduceSumSquare", "novelty_scores", "novelty_explained"),
        helper.make_node("Sub", ["novelty_total", "novelty_explained"], ["novelty_rest"]),
        # Rounding must not make the square of a length negative.
        helper.make_node("Max", ["novelty_rest", "novelty_zero"], ["novelty_square"]),
        helper.make_node("Sqrt", ["novelty_square"], ["novelty_residual"]),
        _reduce("ReduceL2", EMBEDDING, "novelty_length"),
        helper.make_node("Max", ["novelty_length", "novelty_min_length"], ["novelty_divisor"]),
        helper.make_node("Div", ["novelty_residual", "novelty_divisor"], [NOVELTY]),
    ]


def _energy(logits: str) -> list[NodeProto]:
    return [
        helper.make_node("ReduceLogSumExp", [logits, "novelty_classes"], ["novelty_free"], keepdims=0),
        helper.make_node("Neg", ["novelty_free"], [NOVELTY]),
    ]


def _reduce(kind: str, tensor: str, output: str) -> NodeProto:
    return helper.make_node(kind, [tensor, "novelty_features"], [output], keepdims=0)
