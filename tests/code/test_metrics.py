"""Metrics, against values worked out by hand."""

import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, matthews_corrcoef, top_k_accuracy_score

from visiongate.evaluation.metrics import (
    compute_metrics,
    count_confusions,
    judge_classes,
    judge_positive,
    report_text,
    uncalibrated,
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

# Of class a 3 right and 1 taken for b; of b 1 right and 1 taken for c; of c 4 right.
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
    """Predictions of a, b, a, b, a ... with 0.7, the rest of the classes sharing what remains."""
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


def test_roc_auc_counts_pairs_in_the_right_order() -> None:
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


def test_every_metric_is_there_in_order_and_plain() -> None:
    metrics = compute_metrics(THREE, 10)

    assert tuple(metrics) == METRICS
    assert type(metrics["images"]) is int
    assert {type(value) for name, value in metrics.items() if name != "images"} == {float}


def test_two_classes() -> None:
    metrics = compute_metrics(with_labels([0, 1, 0, 0], ("no", "yes")), 10)

    assert tuple(metrics) == METRICS
    assert metrics["accuracy"] == 0.75
    # Of the pairs of a "yes" with each of three "no": two in order, one level.
    assert metrics["roc_auc"] == pytest.approx(2.5 / 3)


@pytest.mark.filterwarnings("error")
def test_a_class_without_images_leaves_the_averages_alone() -> None:
    # The third of the a's is taken for b, a class of which there is no image.
    metrics = compute_metrics(with_labels([0, 2, 0, 0, 0]), 10)

    assert "roc_auc" not in metrics
    assert tuple(metrics) == tuple(name for name in METRICS if name not in {"roc_auc", "average_precision"})
    assert metrics["recall_macro"] == pytest.approx(np.mean([3 / 4, 0]))
    assert metrics["balanced_accuracy"] == metrics["recall_macro"]
    assert metrics["recall_min"] == 0


def test_certainty_of_the_wrong_class_has_a_finite_loss() -> None:
    metrics = compute_metrics(Predictions(np.eye(2), np.array([1, 1]), ("a", "b")), 10)

    assert math.isfinite(metrics["log_loss"])
    assert metrics["log_loss"] > 10


def test_classes_know_where_their_errors_went() -> None:
    a, b, c = judge_classes(THREE)

    assert (a.name, a.images, a.errors, a.confused_with, a.confused_images) == ("a", 4, 1, "b", 1)
    assert (b.name, b.images, b.errors, b.confused_with, b.confused_images) == ("b", 2, 1, "c", 1)
    assert (c.errors, c.confused_with, c.confused_images) == (0, None, 0)
    assert (b.precision, b.recall, b.f1) == (0.5, 0.5, 0.5)


@pytest.mark.filterwarnings("error")
def test_a_class_without_images_has_empty_results() -> None:
    results = judge_classes(with_labels([0, 2, 0, 0, 0]))

    assert (results[1].images, results[1].precision, results[1].recall, results[1].f1) == (
        0,
        None,
        None,
        None,
    )
    assert (results[1].roc_auc, results[1].average_precision) == (None, None)
    assert results[2].recall == 0


@pytest.mark.filterwarnings("error")
def test_the_report_has_a_line_for_each_class() -> None:
    lines = report_text(THREE).splitlines()

    assert [line.split()[0] for line in lines[2:5]] == ["a", "b", "c"]
    assert lines[2].split()[1:] == ["1.0000", "0.7500", "0.8571", "4"]


def random_predictions(classes: int, images: int = 300) -> Predictions:
    generator = np.random.default_rng(classes)
    labels = generator.integers(classes, size=images)
    logits = generator.normal(size=(images, classes)) + 1.2 * np.eye(classes)[labels]
    shares = np.exp(logits)
    return Predictions(shares / shares.sum(axis=1, keepdims=True), labels, tuple(map(str, range(classes))))


@pytest.mark.parametrize("classes", [2, 4, 8])
def test_the_rest_agrees_with_scikit_learn(classes: int) -> None:
    predictions = random_predictions(classes)
    labels, shares = predictions.labels, predictions.probabilities

    metrics = compute_metrics(predictions, 10)

    areas = [average_precision_score(labels == number, shares[:, number]) for number in range(classes)]
    assert metrics["average_precision"] == pytest.approx(np.mean(areas))
    results = judge_classes(predictions)
    assert [result.average_precision for result in results] == pytest.approx(areas)
    assert metrics["roc_auc"] == pytest.approx(np.mean([result.roc_auc for result in results]))
    assert metrics["mcc"] == pytest.approx(matthews_corrcoef(labels, shares.argmax(axis=1)))
    assert metrics["brier"] == pytest.approx(brier_score_loss(labels, shares, scale_by_half=False))
    assert ("top3" in metrics) == (classes > 5)
    if classes > 5:
        assert metrics["top3"] == pytest.approx(top_k_accuracy_score(labels, shares, k=3))


def test_the_positive_class_is_judged_at_the_operating_point() -> None:
    shares = np.array([0.9, 0.6, 0.4, 0.2, 0.7, 0.3, 0.1, 0.1])
    labels = np.array([1, 1, 1, 1, 0, 0, 0, 0])
    predictions = Predictions(np.stack([1 - shares, shares], axis=1), labels, ("no", "yes"), 0.35)

    found = judge_positive(predictions, 1)

    assert found == pytest.approx(
        {"sensitivity": 3 / 4, "specificity": 3 / 4, "precision_positive": 3 / 4, "f1_positive": 3 / 4}
    )
    other = judge_positive(predictions, 0)
    assert (other["sensitivity"], other["specificity"]) == (found["specificity"], found["sensitivity"])


def test_what_two_classes_leave_undefined_is_missing() -> None:
    predictions = Predictions(np.array([[0.9, 0.1], [0.8, 0.2]]), np.array([0, 0]), ("no", "yes"))

    assert judge_positive(predictions, 1) == {"specificity": 1.0}


def test_confusions_are_counted_by_actual_and_predicted_class() -> None:
    assert count_confusions(THREE).tolist() == [[3, 1, 0], [0, 1, 1], [0, 0, 4]]


def test_the_temperature_can_be_undone() -> None:
    predictions = random_predictions(5)
    cooled = predictions.probabilities ** (1 / 2.5)
    calibrated = Predictions(
        cooled / cooled.sum(axis=1, keepdims=True), predictions.labels, predictions.classes
    )

    assert uncalibrated(calibrated, 2.5).probabilities == pytest.approx(predictions.probabilities)
