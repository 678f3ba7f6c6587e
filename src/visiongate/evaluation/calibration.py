"""Calibration: are predictions with a confidence of 90% correct nine times in ten?"""

import numpy as np
import numpy.typing as npt

from visiongate.records.evaluation import CalibrationBin

Confidence = npt.NDArray[np.float64]
Correct = npt.NDArray[np.bool_]


def assign_bins(confidence: Confidence, bins: int) -> npt.NDArray[np.int64]:
    """Return the bin of each prediction, N, in 0..M-1, for M equal bins ((m-1)/M, m/M]; 0 is in the first.

    Args:
        confidence: N, in 0..1.
        bins: M.
    """
    edges = np.linspace(0, 1, bins + 1)
    # Rounding can lift a confidence slightly above 1; it belongs to the last bin.
    return np.clip(np.digitize(confidence, edges, right=True) - 1, 0, bins - 1).astype(np.int64)


def calibration_curve(confidence: Confidence, correct: Correct, bins: int) -> list[CalibrationBin]:
    """Return mean confidence and accuracy of each bin that has images.

    Args:
        confidence: N, of the predicted class.
        correct: N, whether the prediction is correct.
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
    """Return the mean gap between confidence and accuracy over the bins, weighted by images.

    It depends on the number of bins, and few images per bin bias it upward. Guo, C., Pleiss, G., Sun, Y., Weinberger, K. Q.
    (2017), On calibration of modern neural networks, ICML, equation 3.

    Args:
        confidence: N, of the predicted class.
        correct: N, whether the prediction is correct.
        bins: Equal-width bins of 0..1.
    """
    gaps = np.bincount(assign_bins(confidence, bins), correct - confidence, bins)
    return float(np.abs(gaps).sum() / len(confidence))
