"""A random forest on pooled pixels.

Source: Breiman, Random Forests, Machine Learning 45, 2001.

Options:
    side: Maximum height and width of the pooled image, in pixels.
    trees: Number of trees.
    leaves: Maximum number of leaves per tree. With ``trees`` it bounds the size of the file.
    min_leaf: Minimum number of images in a leaf.
    features: Share of the pixels considered at each split; 0 considers the square root of their number.
"""

from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from onnx import helper
from pydantic import Field

from visiongate.images.pixels import Labels
from visiongate.models.pixel_classifier import (
    FEATURES,
    SCORES,
    Arrays,
    Fragment,
    Importances,
    PixelClassifier,
)
from visiongate.models.pixel_features import Features

# scikit-learn's marker for a missing child.
NO_CHILD = -1


class RandomForest(PixelClassifier):
    """scikit-learn's RandomForestClassifier."""

    def fit(self, features: Features, labels: Labels) -> None:
        """Fit the trees on all cores."""
        super().fit(features, labels)
        # Threads add up the trees' votes in random order, which makes the rounding random.
        self.estimator.n_jobs = 1

    def tensors(self) -> Arrays:
        """Return the trees as the numeric attributes of ONNX's ``TreeEnsembleClassifier``."""
        trees = [self._read_tree(index, tree.tree_) for index, tree in enumerate(self.estimator.estimators_)]
        return {name: np.concatenate([tree[name] for tree in trees]) for name in trees[0]}

    def _read_tree(self, index: int, tree: Any) -> Arrays:  # noqa: ANN401 - scikit-learn has no types
        is_leaf = tree.children_left == NO_CHILD
        leaves = np.flatnonzero(is_leaf)
        shares = tree.value[leaves, 0] / tree.value[leaves, 0].sum(axis=1, keepdims=True)
        row, column = np.nonzero(shares)
        trees = np.float32(len(self.estimator.estimators_))
        return {
            "nodes_treeids": np.full(len(is_leaf), index),
            "nodes_nodeids": np.arange(len(is_leaf)),
            "nodes_featureids": np.where(is_leaf, 0, tree.feature),
            "nodes_values": round_down(np.where(is_leaf, 0, tree.threshold)),
            "nodes_truenodeids": np.where(is_leaf, 0, tree.children_left),
            "nodes_falsenodeids": np.where(is_leaf, 0, tree.children_right),
            "class_treeids": np.full(len(row), index),
            "class_nodeids": leaves[row],
            "class_ids": self.fitted_classes[column],
            "class_weights": shares[row, column].astype(np.float32) / trees,
        }

    def fragment(self, classes: int) -> Fragment:
        """Return one tree ensemble."""
        arrays = self.tensors()
        # Node 0 is the root, so it is not a child of another node.
        modes = np.where(arrays["nodes_truenodeids"] == 0, "LEAF", "BRANCH_LEQ")
        attributes: dict[str, Any] = {
            **{name: array.tolist() for name, array in arrays.items()},
            "nodes_modes": modes.tolist(),
            "classlabels_int64s": list(range(classes)),
            "post_transform": "NONE",
        }
        node = helper.make_node(
            "TreeEnsembleClassifier", [FEATURES], ["label", SCORES], domain="ai.onnx.ml", **attributes
        )
        return Fragment([node], [])

    def importances(self) -> Importances:
        """Return the mean decrease in impurity, which sums to 1."""
        panel = self.estimator.feature_importances_.astype(np.float64)
        return Importances(panel[None], None, "mean decrease in impurity")


def round_down(thresholds: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Return the largest float32 that is not greater than each threshold.

    Every float32 feature then compares with it as with the float64 threshold. The nearest float32 may be greater than the
    threshold and equal to the feature.
    """
    nearest = thresholds.astype(np.float32)
    below = np.nextafter(nearest, np.float32(-np.inf))
    return np.where(nearest.astype(np.float64) > thresholds, below, nearest)


def build(  # noqa: PLR0913 - one keyword per option
    seed: int,
    *,
    side: Annotated[int, Field(ge=1, le=256)] = 16,
    trees: Annotated[int, Field(ge=1)] = 100,
    leaves: Annotated[int, Field(ge=2)] = 2000,
    min_leaf: Annotated[int, Field(ge=1)] = 1,
    features: Annotated[float, Field(ge=0, le=1)] = 0.0,
) -> PixelClassifier:
    """Return the unfitted classifier."""
    from sklearn.ensemble import RandomForestClassifier  # noqa: PLC0415 - slow to import

    estimator = RandomForestClassifier(
        n_estimators=trees,
        max_leaf_nodes=leaves,
        min_samples_leaf=min_leaf,
        max_features=features or "sqrt",
        random_state=seed,
        n_jobs=-1,
    )
    return RandomForest(estimator, side)
