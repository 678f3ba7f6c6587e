"""Metrics, against values worked out by hand."""

import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, matthews_corrcoef, top_k_accuracy_score

from visiongate.evaluation.metrics import (
    compute_class_metrics,
    compute_metrics,
    compute_positive_metrics,
    count_confusions,
    format_report,
    undo_temperature,
)
from visiongate.models.predictions import Predictions

METRICS = (
    "images",
    "accuracy",
    "balanced_accuracy",
    "precision_macro",
    "precision_weighted",
    "recall_macro",
    "recall_weighted",
    "f1_macro",
    "f1_weighted",
    "recall_min",
    "f1_min",
    "mcc",
    "roc_auc",
    "average_precision",
    "log_loss",
    "brier",
    "ece",
)

# Class a: 3 correct, 1 predicted as b. Class b: 1 correct, 1 predicted as c. Class c: 4 correct.
THREE = Predictions(
    np.array(
        [
            *[[0.8, 0.1, 0.1]] * 3,
            [0.3, 0.6, 0.1],
            [0.1, 0.7, 0.2],
            [0.1, 0.4, 0.5],
            *[[0.2, 0.2, 0.6]] * 4,
        ]
    ),
    np.array([0, 0, 0, 0, 1, 1, 2, 2, 2, 2]),
    ("a", "b", "c"),
)


def with_labels(labels: list[int], classes: tuple[str, ...] = ("a", "b", "c")) -> Predictions:
    """Return predictions of a, b, a, b ... with probability 0.7; the other classes share the rest."""
    probabilities = np.full((len(labels), len(classes)), 0.3 / (len(classes) - 1))
    probabilities[np.arange(len(labels)), np.arange(len(labels)) % 2] = 0.7
    return Predictions(probabilities, np.array(labels), classes)


def test_values_worked_out_by_hand() -> None:
    metrics = compute_metrics(THREE, 10)

    recall = [3 / 4, 1 / 2, 1]
    precision = [1, 1 / 2, 4 / 5]
    f1 = [6 / 7, 1 / 2, 8 / 9]
    images = [4, 2, 4]
    assert metrics["images"] == 10
    assert metrics["accuracy"] == pytest.approx(0.8)
    assert metrics["balanced_accuracy"] == pytest.approx(np.mean(recall))
    for name, values in (("recall", recall), ("precision", precision), ("f1", f1)):
        assert metrics[f"{name}_macro"] == pytest.approx(np.mean(values))
        assert metrics[f"{name}_weighted"] == pytest.approx(np.average(values, weights=images))
    assert metrics["recall_min"] == 0.5
    assert metrics["f1_min"] == 0.5
    likelihood = [0.8] * 3 + [0.3, 0.7, 0.4] + [0.6] * 4
    assert metrics["log_loss"] == pytest.approx(-np.log(likelihood).mean())


def test_roc_auc_is_share_of_ordered_pairs() -> None:
    areas = []
    for number in range(3):
        scores, mine = THREE.probabilities[:, number], THREE.labels == number
        pairs = [
            1.0 if own > other else 0.5 if own == other else 0.0
            for own in scores[mine]
            for other in scores[~mine]
        ]
        areas.append(np.mean(pairs))

    assert compute_metrics(THREE, 10)["roc_auc"] == pytest.approx(np.mean(areas))


def test_metrics_have_order_and_plain_types() -> None:
    metrics = compute_metrics(THREE, 10)

    assert tuple(metrics) == METRICS
    assert type(metrics["images"]) is int
    assert {type(value) for name, value in metrics.items() if name != "images"} == {float}


def test_two_classes() -> None:
    metrics = compute_metrics(with_labels([0, 1, 0, 0], ("no", "yes")), 10)

    assert tuple(metrics) == METRICS
    assert metrics["accuracy"] == 0.75
    # Of the three pairs of "yes" and "no", two are ordered and one is tied.
    assert metrics["roc_auc"] == pytest.approx(2.5 / 3)


@pytest.mark.filterwarnings("error")
def test_class_without_images_is_left_out_of_averages() -> None:
    # Class b has no images.
    metrics = compute_metrics(with_labels([0, 2, 0, 0, 0]), 10)

    assert "roc_auc" not in metrics
    assert tuple(metrics) == tuple(name for name in METRICS if name not in {"roc_auc", "average_precision"})
    assert metrics["recall_macro"] == pytest.approx(np.mean([3 / 4, 0]))
    assert metrics["balanced_accuracy"] == metrics["recall_macro"]
    assert metrics["recall_min"] == 0


def test_certain_mistake_has_finite_loss() -> None:
    metrics = compute_metrics(Predictions(np.eye(2), np.array([1, 1]), ("a", "b")), 10)

    assert math.isfinite(metrics["log_loss"])
    assert metrics["log_loss"] > 10


def test_class_metrics_name_most_frequent_confusion() -> None:
    a, b, c = compute_class_metrics(THREE)

    assert (a.name, a.images, a.errors, a.confused_with, a.confused_images) == ("a", 4, 1, "b", 1)
    assert (b.name, b.images, b.errors, b.confused_with, b.confused_images) == ("b", 2, 1, "c", 1)
    assert (c.errors, c.confused_with, c.confused_images) == (0, None, 0)
    assert (b.precision, b.recall, b.f1) == (0.5, 0.5, 0.5)


@pytest.mark.filterwarnings("error")
def test_class_without_images_has_no_metrics() -> None:
    results = compute_class_metrics(with_labels([0, 2, 0, 0, 0]))

    assert (results[1].images, results[1].precision, results[1].recall, results[1].f1) == (
        0,
        None,
        None,
        None,
    )
    assert (results[1].roc_auc, results[1].average_precision) == (None, None)
    assert results[2].recall == 0


@pytest.mark.filterwarnings("error")
def test_report_has_line_per_class() -> None:
    lines = format_report(THREE).splitlines()

    assert [line.split()[0] for line in lines[2:5]] == ["a", "b", "c"]
    assert lines[2].split()[1:] == ["1.0000", "0.7500", "0.8571", "4"]


def random_predictions(classes: int, images: int = 300) -> Predictions:
    generator = np.random.default_rng(classes)
    labels = generator.integers(classes, size=images)
    logits = generator.normal(size=(images, classes)) + 1.2 * np.eye(classes)[labels]
    shares = np.exp(logits)
    return Predictions(shares / shares.sum(axis=1, keepdims=True), labels, tuple(map(str, range(classes))))


@pytest.mark.parametrize("classes", [2, 4, 8])
def test_other_metrics_equal_scikit_learns(classes: int) -> None:
    predictions = random_predictions(classes)
    labels, shares = predictions.labels, predictions.probabilities

    metrics = compute_metrics(predictions, 10)

    areas = [average_precision_score(labels == number, shares[:, number]) for number in range(classes)]
    assert metrics["average_precision"] == pytest.approx(np.mean(areas))
    results = compute_class_metrics(predictions)
    assert [result.average_precision for result in results] == pytest.approx(areas)
    assert metrics["roc_auc"] == pytest.approx(np.mean([result.roc_auc for result in results]))
    assert metrics["mcc"] == pytest.approx(matthews_corrcoef(labels, shares.argmax(axis=1)))
    assert metrics["brier"] == pytest.approx(brier_score_loss(labels, shares, scale_by_half=False))
    assert ("top3" in metrics) == (classes > 5)
    if classes > 5:
        assert metrics["top3"] == pytest.approx(top_k_accuracy_score(labels, shares, k=3))


def test_positive_metrics_use_threshold() -> None:
    shares = np.array([0.9, 0.6, 0.4, 0.2, 0.7, 0.3, 0.1, 0.1])
    labels = np.array([1, 1, 1, 1, 0, 0, 0, 0])
    predictions = Predictions(np.stack([1 - shares, shares], axis=1), labels, ("no", "yes"), 0.35)

    found = compute_positive_metrics(predictions, 1)

    assert found == pytest.approx(
        {"sensitivity": 3 / 4, "specificity": 3 / 4, "precision_positive": 3 / 4, "f1_positive": 3 / 4}
    )
    other = compute_positive_metrics(predictions, 0)
    assert (other["sensitivity"], other["specificity"]) == (found["specificity"], found["sensitivity"])


def test_undefined_positive_metrics_are_missing() -> None:
    predictions = Predictions(np.array([[0.9, 0.1], [0.8, 0.2]]), np.array([0, 0]), ("no", "yes"))

    assert compute_positive_metrics(predictions, 1) == {"specificity": 1.0}


def test_confusion_matrix_has_actual_classes_down() -> None:
    assert count_confusions(THREE).tolist() == [[3, 1, 0], [0, 1, 1], [0, 0, 4]]


def test_temperature_is_undone() -> None:
    predictions = random_predictions(5)
    cooled = predictions.probabilities ** (1 / 2.5)
    calibrated = Predictions(
        cooled / cooled.sum(axis=1, keepdims=True), predictions.labels, predictions.classes
    )

    assert undo_temperature(calibrated, 2.5).probabilities == pytest.approx(predictions.probabilities)
