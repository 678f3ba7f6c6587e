"""Calibration, against values by hand and a loop."""

import numpy as np
import pytest

from visiongate.evaluation.calibration import assign_bins, calibration_curve, expected_calibration_error

# Bins of a fifth. (0.4, 0.6]: 0.5 wrong, 0.6 right. (0.6, 0.8]: 0.7 right. (0.8, 1]: 0.9 right, 0.9 wrong, 1 right.
CONFIDENCE = np.array([0.5, 0.6, 0.7, 0.9, 0.9, 1.0])
CORRECT = np.array([False, True, True, True, False, True])


def test_error_by_hand() -> None:
    by_hand = (2 * abs(0.5 - 0.55) + 1 * abs(1 - 0.7) + 3 * abs(2 / 3 - 2.8 / 3)) / 6

    assert expected_calibration_error(CONFIDENCE, CORRECT, 5) == pytest.approx(by_hand)


def test_curve_by_hand() -> None:
    curve = calibration_curve(CONFIDENCE, CORRECT, 5)

    assert [point.images for point in curve] == [2, 1, 3]
    assert [point.confidence for point in curve] == pytest.approx([0.55, 0.7, 2.8 / 3])
    assert [point.accuracy for point in curve] == pytest.approx([0.5, 1, 2 / 3])


@pytest.mark.parametrize("bins", [1, 7, 10, 15])
def test_error_equals_loop(bins: int) -> None:
    generator = np.random.default_rng(0)
    confidence = generator.uniform(0.1, 1, 500)
    correct = generator.uniform(size=500) < confidence**2

    total = 0.0
    for low, high in zip(np.linspace(0, 1, bins + 1)[:-1], np.linspace(0, 1, bins + 1)[1:], strict=True):
        chosen = [index for index, value in enumerate(confidence) if low < value <= high]
        if chosen:
            accuracy = sum(correct[chosen]) / len(chosen)
            total += len(chosen) / 500 * abs(accuracy - sum(confidence[chosen]) / len(chosen))

    assert expected_calibration_error(confidence, correct, bins) == pytest.approx(total)


def test_bins_include_upper_edge_and_first_includes_zero() -> None:
    confidence = np.array([0, 1e-9, 0.25, 0.25 + 1e-9, 0.5, 1, 1 + 1e-12])

    assert assign_bins(confidence, 4).tolist() == [0, 0, 0, 1, 1, 3, 3]


def test_calibrated_predictions_have_no_error() -> None:
    confidence = np.full(10, 0.7)
    correct = np.arange(10) < 7

    assert expected_calibration_error(confidence, correct, 15) == pytest.approx(0)
