"""Paired tests: McNemar's against SciPy, the metrics against scikit-learn, the bootstrap by simulation."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, log_loss, roc_auc_score

import tiny_models
from visiongate.comparison.paired_test import Comparison, compare, difference_interval, mcnemar_p
from visiongate.comparison.predictions import GroundTruth, UnlabeledPredictions, predict_images
from visiongate.errors import DataError
from visiongate.models.predictor import open_predictor
from visiongate.models.probabilities import decide
from visiongate.settings.registry import Registry

METRICS = ("accuracy", "balanced_accuracy", "f1_macro", "log_loss", "roc_auc")


def settings(**changes: Any) -> Registry:  # noqa: ANN401
    values = {
        "name": "tiny",
        "metric": "accuracy",
        "test": "auto",
        "alpha": 0.05,
        "samples": 400,
        "seed": 0,
        "non_inferiority": None,
        "allow_lost_classes": False,
    }
    return Registry(**{**values, **changes})


def certain(correct: np.ndarray) -> UnlabeledPredictions:
    """Return predictions for images of class 0 with the given correctness."""
    predicted = np.where(correct, 0, 1)
    return UnlabeledPredictions(np.eye(2)[predicted] * 0.8 + 0.1, predicted)


def compare_counts(both: int, wins: int, losses: int, neither: int, **changes: Any) -> Comparison:  # noqa: ANN401
    counts = [both, wins, losses, neither]
    challenger = np.repeat([True, True, False, False], counts)
    champion = np.repeat([True, False, True, False], counts)
    truth = GroundTruth(np.zeros(sum(counts), dtype=np.int64), [None] * sum(counts))
    return compare(certain(challenger), certain(champion), truth, settings(**changes))


@pytest.mark.parametrize(("wins", "losses"), [(1, 0), (0, 1), (5, 0), (10, 2), (30, 30), (600, 500)])
def test_mcnemar_p_equals_binomial_test(wins: int, losses: int) -> None:
    expected = binomtest(wins, wins + losses, 0.5, alternative="greater").pvalue
    comparison = compare_counts(7, wins, losses, 3)
    assert (comparison.images, comparison.wins, comparison.losses) == (10 + wins + losses, wins, losses)
    assert comparison.test == "exact McNemar"
    assert comparison.p_value == pytest.approx(expected, rel=1e-9)
    assert comparison.difference == pytest.approx(comparison.challenger - comparison.champion)


def test_mcnemar_p_of_few_wins() -> None:
    assert mcnemar_p(5, 0) == pytest.approx(1 / 32)
    assert mcnemar_p(4, 0) == pytest.approx(1 / 16)


def test_equal_predictions_have_p_value_one_and_an_interval_around_zero() -> None:
    for test in ("auto", "bootstrap"):
        comparison = compare_counts(50, 0, 0, 10, test=test)
        assert comparison.p_value == 1.0
        assert comparison.low < 0 < comparison.high


def test_difference_interval_is_bonett_and_prices() -> None:
    # By hand: 9 of 102 and 3 of 102, so 6/102 plus or minus 1.6449 times the root of (12/102 - (6/102)^2) / 102.
    low, high = difference_interval(8, 2, 100, 0.05)
    assert (low, high) == pytest.approx((0.003789, 0.113858), abs=1e-6)


def test_bootstrap_needs_about_five_wins() -> None:
    assert compare_counts(90, 6, 0, 4, test="bootstrap", samples=2000).p_value < 0.05
    assert compare_counts(90, 3, 0, 7, test="bootstrap", samples=2000).p_value > 0.05


def test_smallest_p_value_is_one_in_all_samples() -> None:
    assert 0.01 <= compare_counts(0, 50, 0, 0, test="bootstrap", samples=99).p_value < 0.013


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("classes", [2, 3])
def test_metrics_equal_scikit_learns(metric: str, classes: int) -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, classes, 150)
    mine, theirs = (noisy(generator, labels, classes) for _ in range(2))
    comparison = compare(
        mine, theirs, GroundTruth(labels, [None] * 150), settings(metric=metric, test="bootstrap")
    )
    scores = [score(metric, labels, predictions) for predictions in (mine, theirs)]
    assert (comparison.challenger, comparison.champion) == pytest.approx(scores)
    better = scores[1] - scores[0] if metric == "log_loss" else scores[0] - scores[1]
    assert comparison.difference == pytest.approx(better)
    assert comparison.low < better < comparison.high
    assert comparison.test == "paired bootstrap over 150 images"


def noisy(
    generator: np.random.Generator, labels: np.ndarray, classes: int, sharp: float = 1.5
) -> UnlabeledPredictions:
    logits = generator.normal(0, 1, (len(labels), classes))
    logits[np.arange(len(labels)), labels] += sharp
    # Rounded, so that some scores are tied.
    probabilities = np.round(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), 2) + 0.01
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return UnlabeledPredictions(probabilities, probabilities.argmax(axis=1))


def score(metric: str, labels: np.ndarray, predictions: UnlabeledPredictions) -> float:
    area = (
        predictions.probabilities
        if predictions.probabilities.shape[1] > 2
        else predictions.probabilities[:, 1]
    )
    scores = {
        "accuracy": lambda: accuracy_score(labels, predictions.predicted),
        "balanced_accuracy": lambda: balanced_accuracy_score(labels, predictions.predicted),
        "f1_macro": lambda: f1_score(labels, predictions.predicted, average="macro"),
        "log_loss": lambda: log_loss(labels, predictions.probabilities),
        "roc_auc": lambda: roc_auc_score(labels, area, multi_class="ovr"),
    }
    return float(scores[metric]())


def test_class_without_images_is_left_out() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 100)
    mine, theirs = (noisy(generator, labels, 3) for _ in range(2))
    for metric in METRICS:
        comparison = compare(mine, theirs, GroundTruth(labels, [None] * 100), settings(metric=metric))
        assert np.isfinite([comparison.challenger, comparison.low, comparison.high]).all()
    found = compare(mine, theirs, GroundTruth(labels, [None] * 100), settings(metric="balanced_accuracy"))
    recalls = [np.mean(mine.predicted[labels == number] == number) for number in range(2)]
    assert found.challenger == pytest.approx(np.mean(recalls))


@pytest.mark.parametrize("metric", METRICS)
def test_much_better_model_is_significant(metric: str) -> None:
    generator = np.random.default_rng(1)
    labels = generator.integers(0, 3, 300)
    truth = GroundTruth(labels, [str(index // 5) for index in range(300)])
    good, poor = noisy(generator, labels, 3, sharp=3.0), noisy(generator, labels, 3, sharp=1.0)
    found = compare(good, poor, truth, settings(metric=metric))
    assert (found.units, found.test) == (60, "paired bootstrap over 60 groups")
    assert found.p_value < 0.01
    assert found.low > 0
    assert compare(poor, good, truth, settings(metric=metric)).p_value > 0.9


def test_images_of_one_group_are_not_independent() -> None:
    right, wrong = np.ones(40, dtype=bool), np.zeros(40, dtype=bool)
    challenger = np.concatenate((right, wrong[:0]))
    champion = np.concatenate((wrong[:20], right[:20]))
    labels = np.zeros(40, dtype=np.int64)
    alone = compare(certain(challenger), certain(champion), GroundTruth(labels, [None] * 40), settings())
    two_groups = ["ill"] * 20 + ["well"] * 20
    together = compare(certain(challenger), certain(champion), GroundTruth(labels, two_groups), settings())
    assert alone.p_value < 1e-5
    assert together.p_value > 0.2
    named = compare(
        certain(challenger), certain(champion), GroundTruth(labels, two_groups), settings(test="mcnemar")
    )
    assert named.p_value == alone.p_value


def test_mcnemar_keeps_its_level() -> None:
    generator = np.random.default_rng(0)
    right = generator.random((2, 2000, 300)) < 0.9
    truth = GroundTruth(np.zeros(300, dtype=np.int64), [None] * 300)
    promoted = [
        compare(certain(mine), certain(theirs), truth, settings()).p_value < 0.05
        for mine, theirs in zip(*right, strict=True)
    ]
    assert 0.01 < np.mean(promoted) < 0.05


@pytest.mark.parametrize(
    ("metric", "images", "together"),
    [
        ("accuracy", 20, 1),
        ("accuracy", 150, 15),
        ("f1_macro", 150, 1),
        ("log_loss", 60, 10),
        ("roc_auc", 40, 1),
    ],
)
def test_bootstrap_keeps_its_level(metric: str, images: int, together: int) -> None:
    generator = np.random.default_rng(2)
    groups = [str(index // together) for index in range(images)]
    found = []
    for _ in range(300):
        labels = generator.integers(0, 2, images)
        mine, theirs = (grouped_mistakes(generator, labels, together) for _ in range(2))
        found.append(
            compare(mine, theirs, GroundTruth(labels, groups), settings(metric=metric, test="bootstrap"))
        )
    # Of 300 at 5 %, more than 25 are called better in one run of a thousand.
    assert sum(comparison.p_value < 0.05 for comparison in found) <= 25
    covered = sum(comparison.low <= 0 <= comparison.high for comparison in found)
    assert covered >= 0.83 * 300


def grouped_mistakes(
    generator: np.random.Generator, labels: np.ndarray, together: int
) -> UnlabeledPredictions:
    """Return predictions whose mistakes are correlated within groups."""
    offsets = np.repeat(generator.normal(0, 1.5, (-(-len(labels) // together), 2)), together, axis=0)
    logits = generator.normal(0, 0.5, (len(labels), 2)) + offsets[: len(labels)]
    logits[np.arange(len(labels)), labels] += 3
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return UnlabeledPredictions(probabilities, probabilities.argmax(axis=1))


def test_same_seed_gives_same_result() -> None:
    assert compare_counts(50, 9, 4, 10, test="bootstrap") == compare_counts(50, 9, 4, 10, test="bootstrap")
    other = compare_counts(50, 9, 4, 10, test="bootstrap", seed=1)
    assert other.p_value != compare_counts(50, 9, 4, 10, test="bootstrap").p_value


def test_predictions_of_different_length_are_refused() -> None:
    truth = GroundTruth(np.zeros(3, dtype=np.int64), [None] * 3)
    with pytest.raises(ValueError, match="not the same images"):
        compare(certain(np.ones(3, dtype=bool)), certain(np.ones(4, dtype=bool)), truth, settings())


def test_bootstrap_of_a_single_group_is_refused() -> None:
    truth = GroundTruth(np.zeros(3, dtype=np.int64), ["one"] * 3)
    with pytest.raises(ValueError, match="single group"):
        compare(certain(np.ones(3, dtype=bool)), certain(np.ones(3, dtype=bool)), truth, settings())


def test_threshold_is_inclusive_and_needs_two_classes() -> None:
    probabilities = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8]])
    assert decide(probabilities, None).tolist() == [0, 0, 1]
    assert decide(probabilities, 0.3).tolist() == [0, 1, 1]
    assert decide(probabilities, 0.81).tolist() == [0, 0, 0]
    with pytest.raises(DataError, match="two classes"):
        decide(np.full((1, 3), 1 / 3), 0.5)


@pytest.mark.parametrize("images", [150, 1000])
def test_difference_interval_keeps_its_level_at_a_margin(images: int) -> None:
    generator = np.random.default_rng(3)
    margin = 0.02
    counts = generator.multinomial(images, [0.02, 0.02 + margin, 0.94 - margin], size=2000)
    lows = [difference_interval(wins, losses, images, 0.05)[0] for wins, losses, _ in counts.tolist()]
    # Of 2000 at 5 %, more than 130 are accepted in one run of a thousand.
    assert np.count_nonzero(np.array(lows) > -margin) <= 130


def test_outputs_that_are_not_probabilities_are_refused(tmp_path: Path) -> None:
    tiny_models.write_threshold_model(tmp_path / "model.onnx", float("nan"))
    images, labels = tiny_models.brightness_images(10)
    with pytest.raises(DataError, match=r"model\.onnx"):
        predict_images(open_predictor(tmp_path / "model.onnx"), images, None)
    tiny_models.write_threshold_model(tmp_path / "model.onnx")
    predictions = predict_images(open_predictor(tmp_path / "model.onnx"), images, None)
    assert predictions.predicted.tolist() == labels.tolist()
    assert predictions.probabilities.sum(axis=1) == pytest.approx(1)
