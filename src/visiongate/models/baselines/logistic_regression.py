"""Multinomial logistic regression on pooled pixels: what can be told by weighing each pixel on its own.

Options:
    side: Pixels a side, at most, that the images are pooled to.
    strength: C, the inverse of the weight of the squared coefficients: the smaller, the smoother.
    iterations: Of L-BFGS, at most. Stopping there is part of the recipe, no failure.
"""

import warnings
from typing import Annotated

import numpy as np
from onnx import helper, numpy_helper
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

UNSEEN = -1e30  # the bias of a class without training images: its probability is zero, and nothing overflows


class LogisticRegression(PixelClassifier):
    """scikit-learn's LogisticRegression, of which ``coefficients`` and ``intercepts`` are all there is."""

    def fit(self, features: Features, labels: Labels) -> None:
        """Learn; that the iterations end before the optimum is reached is not told."""
        from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415 - takes seconds, only where needed

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            super().fit(features, labels)

    def tensors(self) -> Arrays:
        """Return ``coefficients``, one row for each of ``classes``, and ``intercepts``."""
        coefficients = self.estimator.coef_.astype(np.float32)
        intercepts = self.estimator.intercept_.astype(np.float32)
        if len(coefficients) == 1:  # of two classes scikit-learn fits the second against the first
            coefficients = np.concatenate([np.zeros_like(coefficients), coefficients])
            intercepts = np.concatenate([np.zeros_like(intercepts), intercepts])
        return {"classes": self.seen, "coefficients": coefficients, "intercepts": intercepts}

    def fragment(self, classes: int) -> Fragment:
        """Return a matrix product and a softmax."""
        arrays = self.tensors()
        weights = np.zeros((classes, arrays["coefficients"].shape[1]), dtype=np.float32)
        weights[self.seen] = arrays["coefficients"]
        bias = np.full(classes, UNSEEN, dtype=np.float32)
        bias[self.seen] = arrays["intercepts"]
        nodes = [
            helper.make_node("Gemm", [FEATURES, "coefficients", "intercepts"], ["weighed"], transB=1),
            helper.make_node("Softmax", ["weighed"], [SCORES], axis=1),
        ]
        return Fragment(
            nodes,
            [numpy_helper.from_array(weights, "coefficients"), numpy_helper.from_array(bias, "intercepts")],
        )

    def importances(self) -> Importances:
        """Return the coefficients' absolute values: for each class, or once where there are but two."""
        coefficients = np.abs(self.estimator.coef_.astype(np.float64))
        classes = self.seen.tolist() if len(coefficients) > 1 else None
        return Importances(coefficients, classes, "absolute coefficient")


def build(
    seed: int,
    *,
    side: Annotated[int, Field(ge=1, le=256)] = 16,
    strength: Annotated[float, Field(gt=0)] = 1.0,
    iterations: Annotated[int, Field(ge=1)] = 200,
) -> PixelClassifier:
    """Make the classifier. Its solver draws nothing at random: the seed changes nothing."""
    from sklearn import linear_model  # noqa: PLC0415 - takes seconds, only where needed

    estimator = linear_model.LogisticRegression(
        C=strength, max_iter=iterations, solver="lbfgs", random_state=seed
    )
    return LogisticRegression(estimator, side)
