"""Intervals, against the bootstrap written as a loop and against known widths."""

from collections.abc import Sequence

import numpy as np
import pytest

from evaluation_settings import evaluation_settings
from visiongate.evaluation import intervals as module
from visiongate.evaluation.intervals import Judged, class_intervals, find_intervals
from visiongate.evaluation.metrics import (
    brier_by_image,
    compute_metrics,
    judge_classes,
    judge_positive,
    loss_by_image,
    uncalibrated,
)
from visiongate.models.predictions import Predictions
from visiongate.records.interval import Interval, effective_draws, wilson_interval
from visiongate.settings.evaluation import Evaluation

BINS = 10
BY_PROBABILITY = {"roc_auc", "average_precision", "log_loss", "brier", "ece", "ece_uncalibrated"}


def settings(samples: int = 400, seed: int = 0, confidence: float = 0.95) -> Evaluation:
    changes = {"calibration_bins": BINS, "bootstrap_samples": samples, "confidence": confidence, "seed": seed}
    return evaluation_settings(**changes)


def noisy(images: int, classes: int = 3, seed: int = 0) -> Predictions:
    generator = np.random.default_rng(seed)
    labels = generator.integers(classes, size=images)
    logits = generator.normal(size=(images, classes))
    logits[np.arange(images), labels] += 1.5
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return Predictions(probabilities, labels, tuple("abcdefgh"[:classes]))


def alone(predictions: Predictions) -> list[None]:
    return [None] * len(predictions.labels)


def intervals(
    predictions: Predictions, groups: Sequence[str | None], chosen: Evaluation, positive: int | None = None
) -> dict[str, Interval]:
    means = {"log_loss": loss_by_image(predictions), "brier": brier_by_image(predictions)}
    return find_intervals(
        Judged(predictions, groups, positive, uncalibrated(predictions, 2.0), means), chosen
    )


def all_metrics(predictions: Predictions, positive: int | None = None) -> dict[str, float]:
    raw = compute_metrics(uncalibrated(predictions, 2.0), BINS)
    found = compute_metrics(predictions, BINS) | {"ece_uncalibrated": raw["ece"]}
    return found if positive is None else found | judge_positive(predictions, positive)


def subset(predictions: Predictions, chosen: np.ndarray) -> Predictions:
    return Predictions(predictions.probabilities[chosen], predictions.labels[chosen], predictions.classes)


@pytest.mark.parametrize(("classes", "positive"), [(2, 0), (2, 1), (3, None), (7, None)])
def test_values_are_those_of_the_metrics(classes: int, positive: int | None) -> None:
    predictions = noisy(200, classes)

    found = intervals(predictions, alone(predictions), settings(), positive)

    metrics = all_metrics(predictions, positive)
    assert set(found) == set(metrics) - {
        "images",
        "top3",
    }  # top3 is a mean, which is handed in where it is wanted
    for name, interval in found.items():
        assert interval.value == pytest.approx(metrics[name], abs=1e-12), name
        assert interval.low < interval.high
        assert interval.low <= interval.value <= interval.high or "min" in name or "ece" in name


@pytest.mark.parametrize(("classes", "positive"), [(2, 1), (3, None)])
def test_bounds_are_those_of_a_loop_over_samples(classes: int, positive: int | None) -> None:
    predictions = noisy(60, classes)
    # The documented draw: one table of images by samples, each cell an image.
    drawn = np.random.default_rng(3).integers(60, size=(60, 50))
    samples = [all_metrics(subset(predictions, drawn[:, sample]), positive) for sample in range(50)]

    found = intervals(predictions, alone(predictions), settings(50, seed=3, confidence=0.9), positive)

    for name in set(found) - {"accuracy", "sensitivity", "specificity"}:  # those have Wilson's
        low, high = np.quantile([sample[name] for sample in samples], [0.05, 0.95])
        if name in BY_PROBABILITY:
            assert (found[name].low, found[name].high) == pytest.approx((low, high), abs=1e-12), name
        else:  # what follows from the confusions can be wider
            assert found[name].low <= low + 1e-12
            assert found[name].high >= high - 1e-12
            assert found[name].high - found[name].low < 2 * (high - low), name


def draws_of(groups: Sequence[str], chosen: np.ndarray) -> float:
    return effective_draws(np.unique(np.array(groups)[chosen], return_inverse=True)[1])


def test_sensitivity_and_specificity_have_wilsons_interval_over_the_groups_of_their_class() -> None:
    predictions = noisy(40, classes=2)
    groups = [f"patient {number // 2}" for number in range(40)]

    found = intervals(predictions, groups, settings(), positive=1)

    actual = predictions.labels == 1
    patients = draws_of(groups, actual)
    assert found["sensitivity"] == wilson_interval(float(predictions.correct[actual].mean()), patients, 0.95)
    patients = draws_of(groups, ~actual)
    assert found["specificity"] == wilson_interval(float(predictions.correct[~actual].mean()), patients, 0.95)


def test_a_class_has_wilsons_interval_of_its_recall_and_precision_and_f1_lies_within_both() -> None:
    predictions = noisy(90)
    results = judge_classes(predictions)

    found = class_intervals(predictions, alone(predictions), results, 0.95)

    for result in results:
        called = int((predictions.predicted == predictions.classes.index(result.name)).sum())
        assert found["recall"][result.name] == wilson_interval(result.recall, result.images, 0.95)
        assert found["precision"][result.name] == wilson_interval(result.precision, called, 0.95)
        assert found["f1"][result.name].low < result.f1 < found["f1"][result.name].high


def test_a_class_without_images_has_no_interval() -> None:
    whole = noisy(50)
    predictions = subset(whole, whole.labels != 1)

    found = class_intervals(predictions, alone(predictions), judge_classes(predictions), 0.95)

    assert set(found["recall"]) == set(found["precision"]) == set(found["f1"]) == {"a", "c"}
    assert "roc_auc" not in intervals(predictions, alone(predictions), settings())


def test_many_images_and_classes_are_ranked_in_fewer_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    predictions = noisy(100)
    whole = intervals(predictions, alone(predictions), settings(2000))["roc_auc"]
    monkeypatch.setattr(module, "RANKED_CELLS", 1)

    fewer = intervals(predictions, alone(predictions), settings(2000))["roc_auc"]

    assert fewer.value == whole.value
    assert (fewer.low, fewer.high) != (whole.low, whole.high)
    assert (fewer.low, fewer.high) == pytest.approx((whole.low, whole.high), abs=0.03)


@pytest.mark.parametrize("metric", ["f1_macro", "roc_auc", "mcc", "brier"])
def test_the_interval_covers_the_truth_as_often_as_it_says(metric: str) -> None:
    truth = all_metrics(noisy(200_000, seed=99))[metric]

    covered = 0
    for seed in range(150):
        drawn = noisy(250, seed=seed)
        interval = intervals(drawn, alone(drawn), settings(200, confidence=0.9))[metric]
        covered += interval.low <= truth <= interval.high

    assert 0.82 <= covered / 150 <= 0.97  # 0.9, and what 150 draws let chance do


def test_a_class_that_samples_lack_is_left_out() -> None:
    predictions = noisy(40, classes=2)
    labels = np.zeros(40, dtype=np.int64)
    labels[0] = 1  # a single image: a third of the samples go without
    sparse = Predictions(predictions.probabilities, labels, predictions.classes)

    found = intervals(sparse, alone(sparse), settings())

    assert all(np.isfinite([found[name].low, found[name].high]).all() for name in found)


def test_a_large_split_is_drawn_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    predictions = noisy(100)
    whole = intervals(predictions, alone(predictions), settings(1000))
    monkeypatch.setattr(module, "CELLS", 700)

    chunked = intervals(predictions, alone(predictions), settings(1000))

    # Other draws of the same distribution.
    for name in whole:
        assert (chunked[name].low, chunked[name].high) == pytest.approx(
            (whole[name].low, whole[name].high), abs=0.03
        )


def test_the_seed_decides() -> None:
    predictions = noisy(80)

    first, again, other = (
        intervals(predictions, alone(predictions), settings(seed=seed)) for seed in (1, 1, 2)
    )

    assert first == again
    assert first["log_loss"] != other["log_loss"]


def test_images_of_one_group_are_drawn_together() -> None:
    single = noisy(50)
    tenfold = subset(single, np.repeat(np.arange(50), 10))

    grouped = intervals(tenfold, [f"patient {number // 10}" for number in range(500)], settings())

    # Ten copies of each image teach nothing: the same draws, the same bounds.
    expected = intervals(single, alone(single), settings())
    for name, interval in expected.items():
        assert (grouped[name].low, grouped[name].high) == pytest.approx((interval.low, interval.high))
    ungrouped = intervals(tenfold, alone(tenfold), settings())
    assert ungrouped["log_loss"].high - ungrouped["log_loss"].low < 0.5 * (
        expected["log_loss"].high - expected["log_loss"].low
    )


@pytest.mark.parametrize("metric", ["f1_macro", "balanced_accuracy", "mcc", "recall_macro"])
def test_the_interval_of_a_nearly_perfect_model_covers_the_truth_too(metric: str) -> None:
    truth = all_metrics(nearly_perfect(200_000, seed=99))[metric]

    covered, perfect = 0, 0
    for seed in range(150):
        drawn = nearly_perfect(150, seed=seed)
        perfect += bool(drawn.correct.all())
        interval = intervals(drawn, alone(drawn), settings(200))[metric]
        covered += interval.low <= truth <= interval.high

    assert perfect > 20  # of which a bootstrap alone says that they cannot be wrong
    assert covered / 150 >= 0.9


def nearly_perfect(images: int, seed: int) -> Predictions:
    """Predictions of which one in a hundred is wrong."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(3, size=images)
    called = np.where(generator.random(images) < 0.01, (labels + 1) % 3, labels)
    return Predictions(0.01 + 0.97 * np.eye(3)[called], labels, ("a", "b", "c"))


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


def test_groups_of_unlike_size_are_worth_fewer_draws() -> None:
    assert effective_draws(np.arange(7)) == pytest.approx(7)
    assert effective_draws(np.repeat(np.arange(7), 5)) == pytest.approx(7)
    sizes = [100, *[1] * 50]
    assert effective_draws(np.repeat(np.arange(51), sizes)) == pytest.approx(150**2 / (100**2 + 50))


@pytest.mark.parametrize("sizes", [[20] * 5 + [2] * 50, [60] * 3 + [1] * 60])
def test_the_accuracys_interval_covers_the_truth_where_groups_differ_in_size(sizes: list[int]) -> None:
    generator = np.random.default_rng(1)
    unit = np.repeat(np.arange(len(sizes)), sizes)
    groups = [str(number) for number in unit]
    covered = 0
    for _ in range(100):
        shares = generator.beta(0.85 * 0.67, 0.15 * 0.67, len(sizes))  # a correlation of 0.6 within a group
        labels = np.zeros(len(unit), dtype=np.int64)
        wrong = generator.random(len(unit)) > shares[unit]
        predictions = Predictions(0.1 + 0.8 * np.eye(2)[wrong.astype(int)], labels, ("a", "b"))
        interval = intervals(predictions, groups, settings(50))["accuracy"]
        covered += interval.low <= 0.85 <= interval.high
    assert covered >= 85


def test_a_classs_recall_counts_groups_as_its_sensitivity_does() -> None:
    predictions = noisy(100, classes=2)
    groups = [str(number // 10) for number in range(100)]

    found = class_intervals(predictions, groups, judge_classes(predictions), 0.95)["recall"]["b"]

    assert found == intervals(predictions, groups, settings(), positive=1)["sensitivity"]
