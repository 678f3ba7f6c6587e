"""Confident learning, against values by hand and on relabeled digits."""

from fractions import Fraction

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from threadpoolctl import threadpool_limits

from visiongate.evaluation.label_errors import (
    NO_CLASS,
    LabelErrors,
    class_thresholds,
    count_confident_joint,
    estimate_joint,
    find_confident_classes,
    find_label_errors,
    normalized_margin,
)
from visiongate.models.predictions import Predictions
from visiongate.records.evaluation import SuspectedLabel

# 5% of the 1,797 digits.
CHANGED = 90

# In eighths, so that every sum is exact. The thresholds are 16/4, 12/3 and 9/3.
BY_HAND = Predictions(
    np.array(
        [
            [6, 1, 1],
            [5, 2, 1],
            # Labeled a, is b.
            [1, 6, 1],
            # Reaches the thresholds of a and c.
            [4, 1, 3],
            [1, 6, 1],
            [2, 4, 2],
            # Labeled b, is a.
            [5, 2, 1],
            [1, 1, 6],
            # Labeled c, is b.
            [3, 4, 1],
            # Reaches no threshold.
            [3, 3, 2],
        ]
    )
    / 8,
    np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2]),
    ("a", "b", "c"),
)


def test_thresholds_are_the_mean_self_confidence() -> None:
    assert class_thresholds(BY_HAND).tolist() == [4 / 8, 4 / 8, 3 / 8]


def test_confident_joint_by_hand() -> None:
    assert find_confident_classes(BY_HAND).tolist() == [0, 0, 1, 0, 1, 1, 0, 2, 1, NO_CLASS]
    assert count_confident_joint(BY_HAND).tolist() == [[3, 1, 0], [1, 2, 0], [0, 1, 1]]


def test_estimated_joint_keeps_shares_of_labels() -> None:
    joint = estimate_joint(BY_HAND)

    # Two of the three images labeled c are confident.
    expected = np.array([[3, 1, 0], [1, 2, 0], [0, Fraction(3, 2), Fraction(3, 2)]]) / 10
    assert joint == pytest.approx(expected.astype(float))
    assert joint.sum(axis=1) == pytest.approx([0.4, 0.3, 0.3])


def test_suspects_are_sorted_by_margin() -> None:
    found = find_label_errors(BY_HAND, "abcdefghij")

    assert found.share == pytest.approx(0.1 + 0.1 + 0.15)
    assert found.rows == (2, 6, 8)
    assert found.suspects == (
        SuspectedLabel("c", "a", "b", 1 / 8, -5 / 8),
        SuspectedLabel("g", "b", "a", 2 / 8, -3 / 8),
        SuspectedLabel("i", "c", "b", 1 / 8, -3 / 8),
    )


def test_margin_is_over_best_other_class() -> None:
    assert (8 * normalized_margin(BY_HAND)).tolist() == [5, 3, -5, 1, 5, 2, -3, 5, -3, -1]


def test_class_without_images_has_infinite_threshold() -> None:
    probabilities = np.array([[0.7, 0.1, 0.2], [0.5, 0.1, 0.4], [0.1, 0.6, 0.3], [0.05, 0.0, 0.95]])
    predictions = Predictions(probabilities, np.array([0, 0, 1, 1]), ("a", "b", "nowhere"))

    assert class_thresholds(predictions).tolist() == [pytest.approx(0.6), pytest.approx(0.3), np.inf]
    assert find_confident_classes(predictions).tolist() == [0, NO_CLASS, 1, NO_CLASS]
    assert estimate_joint(predictions) == pytest.approx(np.diag([0.5, 0.5, 0]))
    assert find_label_errors(predictions, "wxyz") == LabelErrors(0.0, (), ())


def test_low_threshold_alone_is_not_suspicious() -> None:
    # The only b is predicted as a, so that the threshold of b is 0.2.
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.8, 0.2]])
    predictions = Predictions(probabilities, np.array([0, 0, 1]), ("a", "b"))

    found = find_label_errors(predictions, "xyz")

    assert count_confident_joint(predictions).tolist() == [[1, 1], [1, 0]]
    assert found.rows == (2,)
    assert found.share == pytest.approx(2 / 3)


def test_rounding_keeps_a_confident_image_per_class() -> None:
    own = np.full(3, 0.1)
    # A rounding error.
    assert own.mean() > own.max()

    predictions = Predictions(np.stack([own, 1 - own], axis=1), np.zeros(3, dtype=np.int64), ("a", "b"))

    assert count_confident_joint(predictions).tolist() == [[3, 0], [0, 0]]


def test_perfect_model_has_no_suspects() -> None:
    labels = np.arange(30) % 3

    assert find_label_errors(
        Predictions(np.eye(3)[labels], labels, ("a", "b", "c")), ["x"] * 30
    ) == LabelErrors(0.0, (), ())


def predict_digits(changed: int, seed: int) -> tuple[Predictions, np.ndarray]:
    """Return out-of-fold predictions for digits of which some are relabeled, and the relabeled rows."""
    images, labels = load_digits(return_X_y=True)
    generator = np.random.default_rng(seed)
    chosen = generator.choice(len(labels), changed, replace=False)
    labels[chosen] = (labels[chosen] + generator.integers(1, 10, changed)) % 10
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    model = LogisticRegression(max_iter=100)
    with threadpool_limits(1):
        probabilities = cross_val_predict(model, images / 16, labels, cv=folds, method="predict_proba")
    return Predictions(probabilities, labels, tuple("0123456789")), chosen


@pytest.mark.parametrize("seed", [0, 1])
def test_relabeled_digits_are_found(seed: int) -> None:
    predictions, changed = predict_digits(CHANGED, seed)

    found = find_label_errors(predictions, [""] * len(predictions.labels))

    wrong = np.isin(found.rows, changed)
    assert wrong.mean() > 0.9
    assert wrong.sum() / CHANGED > 0.65
    assert wrong[:40].all()
    assert found.share == pytest.approx(0.05, abs=0.015)
    truth = load_digits(return_X_y=True)[1]
    right = [
        str(truth[row]) == suspect.suggested for row, suspect in zip(found.rows, found.suspects, strict=True)
    ]
    assert np.mean(right) > 0.85


def test_correct_labels_are_rarely_suspected() -> None:
    predictions, _ = predict_digits(0, seed=0)
    found = find_label_errors(predictions, [""] * len(predictions.labels))

    assert len(found.suspects) <= 6
    assert found.share < 0.005
