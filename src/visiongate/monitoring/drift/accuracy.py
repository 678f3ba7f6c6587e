"""The accuracy of a window without labels, from how sure the model is."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from visiongate.monitoring.drift.tails import normal_tail

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.integer]
Array = npt.NDArray[np.floating]
# Confidences, and codes of the predicted classes.
Outputs = tuple[Array, Codes]
LIMITS: Final = (
    "Holds if images as sure as those of the reference are as often correct (covariate and mild label shift). It does not "
    "see that the classes themselves have changed (concept shift), and takes a new class for a known one. It is too high "
    "where a model is sure of what it does not know, as of strongly corrupted images. Ask for true classes to know."
)
# Half the width of a 95% interval, in standard errors.
_Z: Final = 1.959964
# Of the confidence, because float16 rounds to 1.
_MARGIN: Final = 1.2e-4
# Standard deviations of the normal prior of the coefficients: offset, slope about 1, and offset of each class.
_PRIOR: Final = (2.0, 1.0, 0.5)
_STEPS: Final = 50
_TOLERANCE: Final = 1e-8


@dataclass(frozen=True, slots=True)
class EstimatedAccuracy:
    """The accuracy of a window.

    Attributes:
        value: The estimate.
        low, high: Its 95% interval: the uncertainty of the calibration, and of which of the images are correct.
        drop: By how much it is lower than that of the reference.
        p_value: Of a drop at least as large without drift.
    """

    value: float
    low: float
    high: float
    drop: float
    p_value: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """How often predictions are correct, by confidence and predicted class.

    Attributes:
        coefficients: Offset, slope of the logit of the confidence, and an offset of each class.
        covariance: Of their posterior distribution.
        classes: How many there are.
    """

    coefficients: Floats
    covariance: Floats
    classes: int

    @classmethod
    def fit(cls, confidence: Array, predicted: Codes, labels: Codes, classes: int) -> "Calibration":
        """Fit a logistic regression with a normal prior to the predictions of a reference."""
        design = _design(confidence, predicted, classes)
        target = (predicted == labels).astype(np.float64)
        precision = np.array([_PRIOR[0], _PRIOR[1], *[_PRIOR[2]] * classes]) ** -2
        center = np.zeros(classes + 2)
        center[1] = 1.0
        coefficients = center.copy()
        for _ in range(_STEPS):
            share = _sigmoid(design @ coefficients)
            hessian = (design.T * (share * (1 - share))) @ design + np.diag(precision)
            step = np.linalg.solve(hessian, design.T @ (target - share) - precision * (coefficients - center))
            coefficients = coefficients + step
            if np.abs(step).max() < _TOLERANCE:
                break
        return cls(coefficients, np.asarray(np.linalg.inv(hessian), np.float64), classes)

    def estimate(self, before: Outputs, after: Outputs) -> EstimatedAccuracy:
        """Estimate the accuracy of a window as its mean calibrated confidence, and test whether it is lower than before.

        NannyML calls this confidence-based performance estimation. Guillory, D. et al. (2021), Predicting with confidence on
        unseen distributions, ICCV, compare it with others.

        Args:
            before: Confidences of a reference, N, and codes of its predicted classes; of the same model as the window.
            after: The same of the window, n.
        """
        known, share = self._shares(before), self._shares(after)
        gradients = [
            _gradient(_design(*each, self.classes), shares)
            for each, shares in ((before, known), (after, share))
        ]
        value = float(share.mean())
        spread = _Z * math.sqrt(
            self._variance(gradients[1]) + float((share * (1 - share)).mean()) / len(share)
        )
        drop = float(known.mean()) - value
        sampling = float(share.var()) / len(share) + float(known.var()) / len(known)
        error = math.sqrt(self._variance(gradients[1] - gradients[0]) + sampling)
        p_value = normal_tail(drop / error) if error else 1.0
        return EstimatedAccuracy(value, max(0.0, value - spread), min(1.0, value + spread), drop, p_value)

    def _shares(self, outputs: Outputs) -> Floats:
        return _sigmoid(_design(*outputs, self.classes) @ self.coefficients)

    def _variance(self, gradient: Floats) -> float:
        return float(gradient @ self.covariance @ gradient)


def _design(confidence: Array, predicted: Codes, classes: int) -> Floats:
    clipped = confidence.astype(np.float64).clip(_MARGIN, 1 - _MARGIN)
    logit = np.log(clipped) - np.log1p(-clipped)
    return np.column_stack([np.ones(len(logit)), logit, np.eye(classes)[predicted]])


def _gradient(design: Floats, share: Floats) -> Floats:
    return np.asarray((design.T @ (share * (1 - share))) / len(share), np.float64)


def _sigmoid(values: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-values)), np.float64)
