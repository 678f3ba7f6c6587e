"""The scorecard: what the baselines, the training split and the temperature add to the test split's metrics."""

import numpy as np
import pytest

from evaluation_settings import evaluation_settings
from visiongate.evaluation.references import References, judge_references
from visiongate.evaluation.scorecard import Context, Scorecard, score
from visiongate.images.pixels import PixelSplit
from visiongate.models.predictions import Predictions

SETTINGS = evaluation_settings(bootstrap_samples=200)


def predictions(right: list[bool], classes: int = 2) -> Predictions:
    """Images of classes 0, 1, 0, 1 ..., right or wrong as told, all with the same confidence."""
    labels = np.arange(len(right)) % 2
    called = np.where(right, labels, 1 - labels)
    shares = np.full((len(right), classes), 0.2 / (classes - 1))
    shares[np.arange(len(right)), called] = 0.8
    return Predictions(shares, labels, tuple(map(str, range(classes))))


def scored(temperature: float | None = 1.0, classes: int = 2) -> Scorecard:
    right = [True] * 8 + [False, True, True, False]
    majority = np.arange(12) % 2 == 0
    linear = np.array([True] * 6 + [False] * 6)
    groups = [None] * 12
    context = Context(
        groups,
        predictions([True] * 10, classes),
        References(majority, linear),
        temperature,
        {"leaked_images": 2},
    )
    return score(predictions(right, classes), context, SETTINGS)


def test_gains_are_over_the_baselines_on_the_same_images() -> None:
    card = scored()

    assert card.metrics["majority_accuracy"] == card.metrics["linear_accuracy"] == 0.5
    assert (
        card.metrics["gain_over_majority"] == card.metrics["gain_over_linear"] == pytest.approx(10 / 12 - 0.5)
    )
    # Both are right six times; whether on the same images as the model decides how sure the gain is.
    widths = {name: card.intervals[f"gain_over_{name}"] for name in ("majority", "linear")}
    assert widths["majority"].high - widths["majority"].low > widths["linear"].high - widths["linear"].low


def test_the_gap_is_train_less_test_and_its_interval_that_of_the_test_split() -> None:
    card = scored()

    gap, accuracy = card.intervals["accuracy_gap"], card.intervals["accuracy"]
    assert card.metrics["train_accuracy"] == 1.0
    assert gap.value == card.metrics["accuracy_gap"] == pytest.approx(2 / 12)
    assert (gap.low, gap.high) == pytest.approx((1 - accuracy.high, 1 - accuracy.low))


def test_without_a_known_temperature_there_is_no_ece_before_it() -> None:
    assert "ece_uncalibrated" not in scored(None).metrics
    assert scored(1.0).metrics["ece_uncalibrated"] == pytest.approx(scored(1.0).metrics["ece"])
    assert scored(3.0).metrics["ece_uncalibrated"] > scored(3.0).metrics["ece"]


def test_facts_are_taken_as_they_are_and_intervals_are_of_metrics() -> None:
    card = scored(classes=3)

    assert card.metrics["leaked_images"] == 2
    assert set(card.intervals) <= set(card.metrics)
    assert "threshold" not in card.metrics  # there are three classes
    assert set(card.class_intervals["recall"]) == {"0", "1"}


def split(images: int, seed: int, classes: int = 2) -> PixelSplit:
    """Images whose first pixel tells the class, the rest noise."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(classes, size=images)
    pixels = generator.integers(256, size=(images, 4, 4, 1), dtype=np.uint8)
    pixels[:, 0, 0, 0] = 40 + 150 * labels
    return PixelSplit(pixels, labels.astype(np.int64))


def test_the_linear_baseline_learns_what_a_pixel_tells_and_the_majority_nothing() -> None:
    train, test = split(300, 0), split(200, 1)

    found = judge_references(train, test, seed=0)

    assert found.linear.mean() > 0.9
    assert found.majority.tolist() == (test.labels == np.bincount(train.labels).argmax()).tolist()


def test_a_training_split_of_one_class_has_no_better_baseline_than_that_class() -> None:
    train = split(50, 0)
    one = PixelSplit(train.images, np.ones(50, dtype=np.int64))
    test = split(20, 1)

    found = judge_references(one, test, seed=0)

    assert (found.linear == (test.labels == 1)).all()
    assert (found.majority == found.linear).all()
