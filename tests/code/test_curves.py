"""Points of the plots."""

import numpy as np
import pytest

from visiongate.evaluation.curves import (
    HISTOGRAM_BINS,
    confidence_bins,
    confusion_rows,
    precision_recall_points,
    roc_points,
)
from visiongate.models.predictions import Predictions
from visiongate.records.evaluation import ConfusionRow, RocPoint


def binary(scores: list[float], labels: list[int]) -> Predictions:
    second = np.array(scores)
    return Predictions(np.stack([1 - second, second], axis=1), np.array(labels), ("no", "yes"))


def test_confusion_row_per_image() -> None:
    rows = confusion_rows(binary([0.9, 0.2, 0.7], [1, 1, 0]))

    assert rows == [ConfusionRow("yes", "yes"), ConfusionRow("yes", "no"), ConfusionRow("no", "yes")]


def test_roc_points_by_hand() -> None:
    # In order of the score: yes, no, yes, no.
    points = roc_points(binary([0.9, 0.8, 0.7, 0.1], [1, 0, 1, 0]))

    curve = [(point.fpr, point.tpr) for point in points if point.name == "yes"]
    assert curve == [(0, 0), (0, 0.5), (0.5, 0.5), (0.5, 1), (1, 1)]


def test_curves_are_thinned_and_keep_both_ends() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(2, size=4000)
    scores = (generator.normal(size=4000) + labels).clip(-3, 4) / 8 + 0.4

    points = [
        point for point in roc_points(binary(scores.tolist(), labels.tolist()), 30) if point.name == "yes"
    ]

    assert len(points) == 30
    assert points[0] == RocPoint("yes", 0, 0)
    assert points[-1] == RocPoint("yes", 1, 1)
    area = np.trapezoid([point.tpr for point in points], [point.fpr for point in points])
    # The area for two normal distributions with means one apart is Phi(1/sqrt(2)).
    assert area == pytest.approx(0.76, abs=0.02)


@pytest.mark.filterwarnings("error")
def test_class_without_images_or_rest_has_no_curve() -> None:
    assert roc_points(binary([0.9, 0.2], [1, 1])) == []
    assert precision_recall_points(binary([0.9, 0.2], [1, 1])) == []


def test_precision_recall_points_by_hand() -> None:
    points = precision_recall_points(binary([0.9, 0.8, 0.7, 0.1], [1, 0, 1, 0]))

    curve = [(point.recall, point.precision) for point in points if point.name == "yes"]
    assert np.array(curve) == pytest.approx(np.array([(1, 0.5), (1, 2 / 3), (0.5, 0.5), (0.5, 1), (0, 1)]))


def test_confidence_bins_separate_correct_and_wrong() -> None:
    rows = confidence_bins(binary([0.98, 0.97, 0.02, 0.52, 0.48], [1, 0, 0, 1, 1]))

    assert len(rows) == HISTOGRAM_BINS
    counted = {row.confidence: (row.right, row.wrong) for row in rows if row.right or row.wrong}
    assert counted == {0.525: (1, 1), 0.975: (2, 1)}
