"""Is a prediction made with 90% confidence right nine times in ten?"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Confidence = npt.NDArray[np.float64]
Correct = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """The predictions whose confidence lies in one interval."""

    confidence: float  # their mean
    accuracy: float  # the share that is right
    images: int


def assign_bins(confidence: Confidence, bins: int) -> npt.NDArray[np.int64]:
    """Number the equal-width bins ((m-1)/M, m/M] of the predictions from 0, as Guo et al. draw them; 0 falls in the first.

    Args:
        confidence: N, in 0..1.
        bins: M.
    """
    edges = np.linspace(0, 1, bins + 1)
    # A confidence that rounding has lifted above 1 belongs in the last bin.
    return np.clip(np.digitize(confidence, edges, right=True) - 1, 0, bins - 1).astype(np.int64)


def calibration_curve(confidence: Confidence, correct: Correct, bins: int) -> list[CalibrationBin]:
    """Compare confidence with accuracy, bin by bin; empty bins are left out.

    Args:
        confidence: N, of the predicted class.
        correct: N, whether the prediction is right.
        bins: Equal-width bins of 0..1.
    """
    number = assign_bins(confidence, bins)
    images = np.bincount(number, minlength=bins)
    confidence_sum = np.bincount(number, confidence, bins)
    correct_sum = np.bincount(number, correct, bins)
    return [
        CalibrationBin(
            float(confidence_sum[m] / images[m]), float(correct_sum[m] / images[m]), int(images[m])
        )
        for m in np.flatnonzero(images)
    ]


def expected_calibration_error(confidence: Confidence, correct: Correct, bins: int) -> float:
    """Average the gap between confidence and accuracy over the bins, each weighted by its images.

    Guo, C., Pleiss, G., Sun, Y., Weinberger, K. Q. (2017), On calibration of modern neural networks, ICML, equation 3. It
    depends on the number of bins, and with few images in a bin it is biased upwards.

    Args:
        confidence: N, of the predicted class.
        correct: N, whether the prediction is right.
        bins: Equal-width bins of 0..1.
    """
    number = assign_bins(confidence, bins)
    gaps = np.bincount(number, correct - confidence, bins)
    return float(np.abs(gaps).sum() / len(confidence))
