"""Intervals, against the bootstrap written as a loop and against known widths."""

import numpy as np
import pytest

from visiongate.config import Evaluation
from visiongate.evaluation import intervals as module
from visiongate.evaluation.intervals import find_intervals, wilson_interval
from visiongate.evaluation.metrics import compute_metrics
from visiongate.evaluation.predictions import Predictions

BINS = 10


def settings(samples: int = 400, seed: int = 0, confidence: float = 0.95) -> Evaluation:
    return Evaluation(
        batch_size=8,
        calibration_bins=BINS,
        bootstrap_samples=samples,
        confidence=confidence,
        seed=seed,
        latency_runs=1,
    )


def noisy(images: int, classes: int = 3, seed: int = 0) -> Predictions:
    generator = np.random.default_rng(seed)
    labels = generator.integers(classes, size=images)
    logits = generator.normal(size=(images, classes))
    logits[np.arange(images), labels] += 1.5
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return Predictions(probabilities, labels, tuple("abcdefgh"[:classes]))


def alone(predictions: Predictions) -> list[None]:
    return [None] * len(predictions.labels)


def subset(predictions: Predictions, chosen: np.ndarray) -> Predictions:
    return Predictions(predictions.probabilities[chosen], predictions.labels[chosen], predictions.classes)


def test_values_are_those_of_the_metrics() -> None:
    predictions = noisy(200)

    metrics = compute_metrics(predictions, BINS)

    found = find_intervals(predictions, alone(predictions), settings())
    assert list(found) == ["accuracy", "f1_macro", "recall_min", "ece", "log_loss"]
    for name, interval in found.items():
        assert interval.value == pytest.approx(metrics[name], abs=1e-12)
        assert interval.low < interval.value < interval.high or name in ("recall_min", "ece")


def test_bounds_are_those_of_a_loop_over_samples() -> None:
    predictions = noisy(60)
    # The documented draw: one table of images by samples, each cell an image.
    drawn = np.random.default_rng(3).integers(60, size=(60, 50))
    samples = [compute_metrics(subset(predictions, drawn[:, sample]), BINS) for sample in range(50)]

    found = find_intervals(predictions, alone(predictions), settings(50, seed=3, confidence=0.9))

    for name in ("f1_macro", "recall_min", "ece", "log_loss"):
        bounds = np.quantile([sample[name] for sample in samples], [0.05, 0.95])
        assert (found[name].low, found[name].high) == pytest.approx(tuple(bounds), abs=1e-12)


def test_a_class_that_samples_lack_is_left_out() -> None:
    predictions = noisy(40, classes=2)
    labels = np.zeros(40, dtype=np.int64)
    labels[0] = 1  # a single image: a third of the samples go without
    sparse = Predictions(predictions.probabilities, labels, predictions.classes)

    found = find_intervals(sparse, alone(sparse), settings())

    assert all(np.isfinite([found[name].low, found[name].high]).all() for name in found)


def test_a_large_split_is_drawn_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    predictions = noisy(100)
    whole = find_intervals(predictions, alone(predictions), settings(1000))
    monkeypatch.setattr(module, "CELLS", 700)

    chunked = find_intervals(predictions, alone(predictions), settings(1000))

    # Other draws of the same distribution.
    for name in whole:
        assert (chunked[name].low, chunked[name].high) == pytest.approx(
            (whole[name].low, whole[name].high), abs=0.03
        )


def test_the_seed_decides() -> None:
    predictions = noisy(80)

    first, again, other = (
        find_intervals(predictions, alone(predictions), settings(seed=seed)) for seed in (1, 1, 2)
    )

    assert first == again
    assert first["log_loss"] != other["log_loss"]


def test_images_of_one_group_are_drawn_together() -> None:
    single = noisy(50)
    tenfold = subset(single, np.repeat(np.arange(50), 10))

    grouped = find_intervals(tenfold, [f"patient {number // 10}" for number in range(500)], settings())

    # Ten copies of each image teach nothing: the same draws, the same bounds.
    expected = find_intervals(single, alone(single), settings())
    for name, interval in expected.items():
        assert (grouped[name].low, grouped[name].high) == pytest.approx((interval.low, interval.high))
    ungrouped = find_intervals(tenfold, alone(tenfold), settings())
    assert ungrouped["log_loss"].high - ungrouped["log_loss"].low < 0.5 * (
        expected["log_loss"].high - expected["log_loss"].low
    )


@pytest.mark.parametrize(("share", "images", "half_width"), [(0.90, 624, 0.0236), (0.94, 10_000, 0.00466)])
def test_wilson_has_the_known_widths(share: float, images: int, half_width: float) -> None:
    interval = wilson_interval(share, images, 0.95)

    assert (interval.high - interval.low) / 2 == pytest.approx(half_width, rel=0.01)


def test_wilson_reproduces_a_published_example() -> None:
    # Newcombe, R. G. (1998), Statistics in Medicine 17, 857-872, table I, method 3: 81 of 263, and 0 of 20.
    assert wilson_interval(81 / 263, 263, 0.95).low == pytest.approx(0.2553, abs=5e-5)
    assert wilson_interval(81 / 263, 263, 0.95).high == pytest.approx(0.3662, abs=5e-5)
    assert wilson_interval(0.0, 20, 0.95).low == 0
    assert wilson_interval(0.0, 20, 0.95).high == pytest.approx(0.1611, abs=5e-5)


def test_without_a_mistake_the_accuracy_keeps_a_width() -> None:
    interval = wilson_interval(1.0, 253, 0.95)

    assert interval.value == interval.high == 1.0
    assert 0.98 < interval.low < 0.99
