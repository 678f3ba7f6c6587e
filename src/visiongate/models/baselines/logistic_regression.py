"""Multinomial logistic regression on pooled pixels.

Options:
    side: Maximum height and width of the pooled image, in pixels.
    strength: C, the inverse of the regularization strength.
    iterations: Maximum number of L-BFGS iterations. Reaching it is not an error.
"""

import warnings
from typing import Annotated

import numpy as np
from onnx import helper, numpy_helper
from pydantic import Field
from threadpoolctl import threadpool_limits

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

# The intercept of a class without training images: its probability becomes 0 and nothing overflows.
ABSENT_CLASS_INTERCEPT = -1e30


class LogisticRegression(PixelClassifier):
    """scikit-learn's LogisticRegression."""

    def fit(self, features: Features, labels: Labels) -> None:
        """Fit without a warning if the maximum number of iterations is reached."""
        from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415 - slow to import

        # The products are small. Threads that wait for each other at each of them take a hundred times as long when other
        # processes use the cores, and how they share the sums changes the coefficients.
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            super().fit(features, labels)

    def tensors(self) -> Arrays:
        """Return ``coefficients``, one row for each of ``classes``, and ``intercepts``."""
        coefficients = self.estimator.coef_.astype(np.float32)
        intercepts = self.estimator.intercept_.astype(np.float32)
        # For two classes, scikit-learn stores the second class relative to the first.
        if len(coefficients) == 1:
            coefficients = np.concatenate([np.zeros_like(coefficients), coefficients])
            intercepts = np.concatenate([np.zeros_like(intercepts), intercepts])
        return {"classes": self.fitted_classes, "coefficients": coefficients, "intercepts": intercepts}

    def fragment(self, classes: int) -> Fragment:
        """Return a matrix product and a softmax."""
        arrays = self.tensors()
        weights = np.zeros((classes, arrays["coefficients"].shape[1]), dtype=np.float32)
        weights[self.fitted_classes] = arrays["coefficients"]
        bias = np.full(classes, ABSENT_CLASS_INTERCEPT, dtype=np.float32)
        bias[self.fitted_classes] = arrays["intercepts"]
        nodes = [
            helper.make_node("Gemm", [FEATURES, "coefficients", "intercepts"], ["weighed"], transB=1),
            helper.make_node("Softmax", ["weighed"], [SCORES], axis=1),
        ]
        initializers = [
            numpy_helper.from_array(weights, "coefficients"),
            numpy_helper.from_array(bias, "intercepts"),
        ]
        return Fragment(nodes, initializers)

    def importances(self) -> Importances:
        """Return the absolute coefficients, in one panel per class or one panel for two classes."""
        coefficients = np.abs(self.estimator.coef_.astype(np.float64))
        classes = self.fitted_classes.tolist() if len(coefficients) > 1 else None
        return Importances(coefficients, classes, "absolute coefficient")


def build(
    seed: int,
    *,
    side: Annotated[int, Field(ge=1, le=256)] = 16,
    strength: Annotated[float, Field(gt=0)] = 1.0,
    iterations: Annotated[int, Field(ge=1)] = 200,
) -> PixelClassifier:
    """Return the unfitted classifier. The solver is deterministic, so the seed has no effect."""
    from sklearn import linear_model  # noqa: PLC0415 - slow to import

    estimator = linear_model.LogisticRegression(
        C=strength, max_iter=iterations, solver="lbfgs", random_state=seed
    )
    return LogisticRegression(estimator, side)
