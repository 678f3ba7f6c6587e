"""The scorecard: baselines, the training split and the temperature."""

import numpy as np
import pytest

from evaluation_settings import evaluation_settings
from visiongate.evaluation.baselines import BaselineResults, evaluate_baselines
from visiongate.evaluation.metrics import undo_temperature
from visiongate.evaluation.scorecard import Context, Scorecard, score
from visiongate.images.pixels import PixelSplit
from visiongate.models.predictions import Predictions

SETTINGS = evaluation_settings(bootstrap_samples=200)


def predictions(right: list[bool], classes: int = 2) -> Predictions:
    """Return predictions for classes 0, 1, 0, 1 ... with the given correctness, all with confidence 0.8."""
    labels = np.arange(len(right)) % 2
    called = np.where(right, labels, 1 - labels)
    shares = np.full((len(right), classes), 0.2 / (classes - 1))
    shares[np.arange(len(right)), called] = 0.8
    return Predictions(shares, labels, tuple(map(str, range(classes))))


def scored(temperature: float | None = 1.0, classes: int = 2) -> Scorecard:
    right = [True] * 8 + [False, True, True, False]
    majority = np.arange(12) % 2 == 0
    linear = np.array([True] * 6 + [False] * 6)
    groups, test = [None] * 12, predictions(right, classes)
    context = Context(
        groups,
        predictions([True] * 10, classes),
        BaselineResults(majority, linear),
        None if temperature is None else undo_temperature(test, temperature),
        {"leaked_images": 2},
    )
    return score(test, context, SETTINGS)


def test_gains_are_paired_with_the_baselines() -> None:
    card = scored()

    assert card.metrics["majority_accuracy"] == card.metrics["linear_accuracy"] == 0.5
    assert (
        card.metrics["gain_over_majority"] == card.metrics["gain_over_linear"] == pytest.approx(10 / 12 - 0.5)
    )
    # Both are correct six times. The interval depends on whether it is on the same images as the model.
    widths = {name: card.intervals[f"gain_over_{name}"] for name in ("majority", "linear")}
    assert widths["majority"].high - widths["majority"].low > widths["linear"].high - widths["linear"].low


def test_gap_has_the_interval_of_the_test_metric() -> None:
    card = scored()

    gap, accuracy = card.intervals["accuracy_gap"], card.intervals["accuracy"]
    assert card.metrics["train_accuracy"] == 1.0
    assert gap.value == card.metrics["accuracy_gap"] == pytest.approx(2 / 12)
    assert (gap.low, gap.high) == pytest.approx((1 - accuracy.high, 1 - accuracy.low))


def test_unknown_temperature_has_no_uncalibrated_ece() -> None:
    assert "ece_uncalibrated" not in scored(None).metrics
    assert scored(1.0).metrics["ece_uncalibrated"] == pytest.approx(scored(1.0).metrics["ece"])
    assert scored(3.0).metrics["ece_uncalibrated"] > scored(3.0).metrics["ece"]


def test_extra_metrics_are_kept_and_only_metrics_have_intervals() -> None:
    card = scored(classes=3)

    assert card.metrics["leaked_images"] == 2
    assert set(card.intervals) <= set(card.metrics)
    # There are three classes.
    assert "threshold" not in card.metrics
    assert set(card.class_intervals["recall"]) == {"0", "1"}


def split(images: int, seed: int, classes: int = 2) -> PixelSplit:
    """Return images of noise whose first pixel depends on the class."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(classes, size=images)
    pixels = generator.integers(256, size=(images, 4, 4, 1), dtype=np.uint8)
    pixels[:, 0, 0, 0] = 40 + 150 * labels
    return PixelSplit(pixels, labels.astype(np.int64))


def test_linear_baseline_learns_from_a_pixel() -> None:
    train, test = split(300, 0), split(200, 1)

    found = evaluate_baselines(train, test, seed=0)

    assert found.linear.mean() > 0.9
    assert found.majority.tolist() == (test.labels == np.bincount(train.labels).argmax()).tolist()


def test_training_split_of_one_class_has_majority_baseline() -> None:
    train = split(50, 0)
    one = PixelSplit(train.images, np.ones(50, dtype=np.int64))
    test = split(20, 1)

    found = evaluate_baselines(one, test, seed=0)

    assert (found.linear == (test.labels == 1)).all()
    assert (found.majority == found.linear).all()
