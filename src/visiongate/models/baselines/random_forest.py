"""A random forest on pooled pixels: what can be told from a few hundred of them without knowing which are neighbors.

Source: Breiman, Random Forests, Machine Learning 45, 2001; importances are his mean decrease in impurity.

Options:
    side: Pixels a side, at most, that the images are pooled to.
    trees: How many.
    leaves: Of each tree, at most. With ``trees`` it bounds the file, whatever the number of images.
    min_leaf: Images that a leaf holds, at least.
    features: Share of the pixels looked at for each decision; 0 looks at the square root of their number.
"""

from dataclasses import dataclass
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

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]
LEAF = -1  # scikit-learn's mark for a child that is not there


@dataclass(frozen=True, slots=True)
class Trees:
    """All trees' nodes one after another, and what their leaves say; a node's number counts within its tree."""

    tree: Ints
    node: Ints
    feature: Ints
    threshold: Floats  # a feature that is not greater goes left
    left: Ints  # LEAF in a leaf
    right: Ints
    leaf_tree: Ints  # one entry for each leaf and class that it has seen
    leaf_node: Ints
    leaf_class: Ints
    leaf_share: Floats  # of the leaf's training images


class RandomForest(PixelClassifier):
    """scikit-learn's RandomForestClassifier."""

    def fit(self, features: Features, labels: Labels) -> None:
        """Grow the trees on all cores; each tree's seed is drawn beforehand, so that their number changes nothing."""
        super().fit(features, labels)
        # Threads add up the trees' votes in the order in which they come, and so round by chance.
        self.estimator.n_jobs = 1

    def trees(self) -> Trees:
        """Return the fitted trees, their classes numbered as the labels were."""
        parts = [_read_tree(number, tree.tree_) for number, tree in enumerate(self.estimator.estimators_)]
        merged = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return Trees(**{**merged, "leaf_class": self.seen[merged["leaf_class"]].astype(np.int32)})

    def tensors(self) -> Arrays:
        """Return the `Trees`."""
        trees = self.trees()
        return {name: getattr(trees, name) for name in Trees.__slots__}

    def fragment(self, classes: int) -> Fragment:
        """Return one tree ensemble."""
        trees = self.trees()
        count = len(self.estimator.estimators_)
        attributes: dict[str, Any] = {
            **_node_attributes(trees),
            **_leaf_attributes(trees, count),
            "classlabels_int64s": list(range(classes)),
            "post_transform": "NONE",
        }
        node = helper.make_node(
            "TreeEnsembleClassifier", [FEATURES], ["label", SCORES], domain="ai.onnx.ml", **attributes
        )
        return Fragment([node], [])

    def importances(self) -> Importances:
        """Return the mean decrease in impurity, which adds up to one."""
        panel = self.estimator.feature_importances_.astype(np.float64)
        return Importances(panel[None], None, "mean decrease in impurity")


def _read_tree(number: int, tree: object) -> dict[str, npt.NDArray[np.generic]]:
    left, right, feature, threshold, value = (
        getattr(tree, name) for name in ("children_left", "children_right", "feature", "threshold", "value")
    )
    leaves = np.flatnonzero(left == LEAF)
    shares = value[leaves, 0] / value[leaves, 0].sum(axis=1, keepdims=True)
    row, column = np.nonzero(shares)
    return {
        "tree": np.full(len(left), number, dtype=np.int32),
        "node": np.arange(len(left), dtype=np.int32),
        "feature": np.where(left == LEAF, 0, feature).astype(np.int32),
        "threshold": _round_down(np.where(left == LEAF, 0, threshold)),
        "left": left.astype(np.int32),
        "right": right.astype(np.int32),
        "leaf_tree": np.full(len(row), number, dtype=np.int32),
        "leaf_node": leaves[row].astype(np.int32),
        "leaf_class": column.astype(np.int32),
        "leaf_share": shares[row, column].astype(np.float32),
    }


def _round_down(thresholds: npt.NDArray[np.float64]) -> Floats:
    """Return the largest float32 that is not greater.

    A float32 feature is compared with it as with the float64; the nearest float32 may be greater, and be the feature.
    """
    nearest = thresholds.astype(np.float32)
    below = np.nextafter(nearest, np.float32(-np.inf))
    return np.where(nearest.astype(np.float64) > thresholds, below, nearest)


def _node_attributes(trees: Trees) -> dict[str, list[int] | list[float] | list[str]]:
    is_leaf = trees.left == LEAF
    return {
        "nodes_treeids": trees.tree.tolist(),
        "nodes_nodeids": trees.node.tolist(),
        "nodes_featureids": trees.feature.tolist(),
        "nodes_values": trees.threshold.tolist(),
        "nodes_modes": np.where(is_leaf, "LEAF", "BRANCH_LEQ").tolist(),
        "nodes_truenodeids": np.where(is_leaf, 0, trees.left).tolist(),
        "nodes_falsenodeids": np.where(is_leaf, 0, trees.right).tolist(),
    }


def _leaf_attributes(trees: Trees, count: int) -> dict[str, list[int] | list[float]]:
    return {
        "class_treeids": trees.leaf_tree.tolist(),
        "class_nodeids": trees.leaf_node.tolist(),
        "class_ids": trees.leaf_class.tolist(),
        "class_weights": (trees.leaf_share / np.float32(count)).tolist(),
    }


def build(  # noqa: PLR0913 - options, all by keyword
    seed: int,
    *,
    side: Annotated[int, Field(ge=1, le=256)] = 16,
    trees: Annotated[int, Field(ge=1)] = 100,
    leaves: Annotated[int, Field(ge=2)] = 2000,
    min_leaf: Annotated[int, Field(ge=1)] = 1,
    features: Annotated[float, Field(ge=0, le=1)] = 0.0,
) -> PixelClassifier:
    """Make the classifier."""
    from sklearn.ensemble import RandomForestClassifier  # noqa: PLC0415 - takes seconds, only where needed

    estimator = RandomForestClassifier(
        n_estimators=trees,
        max_leaf_nodes=leaves,
        min_samples_leaf=min_leaf,
        max_features=features or "sqrt",
        random_state=seed,
        n_jobs=-1,
    )
    return RandomForest(estimator, side)
