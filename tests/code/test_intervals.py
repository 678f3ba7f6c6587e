"""Intervals, against a bootstrap in a loop, published values and simulations."""

from collections.abc import Sequence

import numpy as np
import pytest
from scipy.stats import beta

from evaluation_settings import evaluation_settings
from visiongate.evaluation import intervals as module
from visiongate.evaluation.intervals import class_intervals, draw_confusions, find_intervals
from visiongate.evaluation.metrics import (
    brier_by_image,
    compute_class_metrics,
    compute_metrics,
    compute_positive_metrics,
    loss_by_image,
    undo_temperature,
)
from visiongate.evaluation.sampled_metrics import ResampledSplit
from visiongate.models.predictions import Predictions
from visiongate.records.interval import Interval, effective_draws, number_groups, wilson_interval
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
    return find_intervals(split_of(predictions, groups, positive), chosen)


def split_of(
    predictions: Predictions,
    groups: Sequence[str | None],
    positive: int | None = None,
    independence: float = 1.0,
) -> ResampledSplit:
    means = {"log_loss": loss_by_image(predictions), "brier": brier_by_image(predictions)}
    raw = undo_temperature(predictions, 2.0)
    return ResampledSplit(predictions, number_groups(groups), positive, raw, means, independence)


def all_metrics(predictions: Predictions, positive: int | None = None) -> dict[str, float]:
    raw = compute_metrics(undo_temperature(predictions, 2.0), BINS)
    found = compute_metrics(predictions, BINS) | {"ece_uncalibrated": raw["ece"]}
    return found if positive is None else found | compute_positive_metrics(predictions, positive)


def subset(predictions: Predictions, chosen: np.ndarray) -> Predictions:
    return Predictions(predictions.probabilities[chosen], predictions.labels[chosen], predictions.classes)


@pytest.mark.parametrize(("classes", "positive"), [(2, 0), (2, 1), (3, None), (7, None)])
def test_values_equal_the_metrics(classes: int, positive: int | None) -> None:
    predictions = noisy(200, classes)

    found = intervals(predictions, alone(predictions), settings(), positive)

    metrics = all_metrics(predictions, positive)
    assert set(found) == set(metrics) - {"images", "top3"}
    for name, interval in found.items():
        assert interval.value == pytest.approx(metrics[name], abs=1e-12), name
        assert interval.low < interval.high
        assert interval.low <= interval.value <= interval.high or "min" in name or "ece" in name


@pytest.mark.parametrize(("classes", "positive"), [(2, 1), (3, None)])
def test_bounds_equal_a_loop_over_samples(classes: int, positive: int | None) -> None:
    predictions = noisy(60, classes)
    drawn = np.random.default_rng(3).integers(60, size=(60, 50))
    samples = [all_metrics(subset(predictions, drawn[:, sample]), positive) for sample in range(50)]

    found = intervals(predictions, alone(predictions), settings(50, seed=3, confidence=0.9), positive)

    for name in set(found) - {"accuracy", "sensitivity", "specificity"}:
        low, high = np.quantile([sample[name] for sample in samples], [0.05, 0.95])
        if name in BY_PROBABILITY:
            assert (found[name].low, found[name].high) == pytest.approx((low, high), abs=1e-12), name
        else:
            assert found[name].low <= low + 1e-12
            assert found[name].high >= high - 1e-12
            assert found[name].high - found[name].low < 2 * (high - low), name


def draws_of(groups: Sequence[str], chosen: np.ndarray) -> float:
    return effective_draws(np.unique(np.array(groups)[chosen], return_inverse=True)[1])


def test_sensitivity_and_specificity_have_wilsons_interval() -> None:
    predictions = noisy(40, classes=2)
    groups = [f"patient {number // 2}" for number in range(40)]

    found = intervals(predictions, groups, settings(), positive=1)

    actual = predictions.labels == 1
    patients = draws_of(groups, actual)
    assert found["sensitivity"] == wilson_interval(float(predictions.correct[actual].mean()), patients, 0.95)
    patients = draws_of(groups, ~actual)
    assert found["specificity"] == wilson_interval(float(predictions.correct[~actual].mean()), patients, 0.95)


def test_class_recall_and_precision_have_wilsons_interval() -> None:
    predictions = noisy(90)
    results = compute_class_metrics(predictions)

    found = class_intervals(split_of(predictions, alone(predictions)), results, 0.95)

    for result in results:
        called = int((predictions.predicted == predictions.classes.index(result.name)).sum())
        assert found["recall"][result.name] == wilson_interval(result.recall, result.images, 0.95)
        assert found["precision"][result.name] == wilson_interval(result.precision, called, 0.95)
        assert found["f1"][result.name].low < result.f1 < found["f1"][result.name].high


def test_class_without_images_has_no_interval() -> None:
    whole = noisy(50)
    predictions = subset(whole, whole.labels != 1)

    found = class_intervals(
        split_of(predictions, alone(predictions)), compute_class_metrics(predictions), 0.95
    )

    assert set(found["recall"]) == set(found["precision"]) == set(found["f1"]) == {"a", "c"}
    assert "roc_auc" not in intervals(predictions, alone(predictions), settings())


def test_large_rankings_use_fewer_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    predictions = noisy(100)
    whole = intervals(predictions, alone(predictions), settings(2000))["roc_auc"]
    monkeypatch.setattr(module, "MAX_RANKED_CELLS", 1)

    fewer = intervals(predictions, alone(predictions), settings(2000))["roc_auc"]

    assert fewer.value == whole.value
    assert (fewer.low, fewer.high) != (whole.low, whole.high)
    assert (fewer.low, fewer.high) == pytest.approx((whole.low, whole.high), abs=0.03)


def test_interval_covers_truth_at_its_confidence() -> None:
    truth, metrics = all_metrics(noisy(100_000, seed=99)), ("f1_macro", "roc_auc", "mcc", "brier")

    covered = dict.fromkeys(metrics, 0)
    for seed in range(100):
        drawn = noisy(250, seed=seed)
        found = intervals(drawn, alone(drawn), settings(200, confidence=0.9))
        for metric in metrics:
            covered[metric] += found[metric].low <= truth[metric] <= found[metric].high

    for metric in metrics:
        # 0.9, give or take the error of 100 draws.
        assert 0.81 <= covered[metric] / 100 <= 0.98, metric


def test_class_missing_from_samples_is_left_out() -> None:
    predictions = noisy(40, classes=2)
    labels = np.zeros(40, dtype=np.int64)
    # A third of the samples lack this label.
    labels[0] = 1
    sparse = Predictions(predictions.probabilities, labels, predictions.classes)

    found = intervals(sparse, alone(sparse), settings())

    assert all(np.isfinite([found[name].low, found[name].high]).all() for name in found)


def test_large_split_is_drawn_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    predictions = noisy(100)
    whole = intervals(predictions, alone(predictions), settings(1000))
    monkeypatch.setattr(module, "MAX_CELLS", 700)

    chunked = intervals(predictions, alone(predictions), settings(1000))

    # Other draws from the same distribution.
    for name in whole:
        assert (chunked[name].low, chunked[name].high) == pytest.approx(
            (whole[name].low, whole[name].high), abs=0.03
        )


def test_intervals_depend_on_seed() -> None:
    predictions = noisy(80)

    first, again, other = (
        intervals(predictions, alone(predictions), settings(seed=seed)) for seed in (1, 1, 2)
    )

    assert first == again
    assert first["log_loss"] != other["log_loss"]


def test_groups_are_drawn_together() -> None:
    single = noisy(50)
    tenfold = subset(single, np.repeat(np.arange(50), 10))

    grouped = intervals(tenfold, [f"patient {number // 10}" for number in range(500)], settings())

    # Ten copies of each image do not change the bounds.
    expected = intervals(single, alone(single), settings())
    for name, interval in expected.items():
        assert (grouped[name].low, grouped[name].high) == pytest.approx((interval.low, interval.high))
    ungrouped = intervals(tenfold, alone(tenfold), settings())
    assert ungrouped["log_loss"].high - ungrouped["log_loss"].low < 0.5 * (
        expected["log_loss"].high - expected["log_loss"].low
    )


def test_interval_of_nearly_perfect_model_covers_truth() -> None:
    truth = all_metrics(nearly_perfect(100_000, seed=99))
    metrics = ("f1_macro", "balanced_accuracy", "mcc", "recall_macro")

    covered, perfect = dict.fromkeys(metrics, 0), 0
    for seed in range(100):
        drawn = nearly_perfect(150, seed=seed)
        perfect += bool(drawn.correct.all())
        found = intervals(drawn, alone(drawn), settings(200))
        for metric in metrics:
            covered[metric] += found[metric].low <= truth[metric] <= found[metric].high

    # The bootstrap alone has no width for these.
    assert perfect > 15
    assert min(covered.values()) / 100 >= 0.9


def nearly_perfect(images: int, seed: int) -> Predictions:
    """Return predictions of which one in a hundred is wrong."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(3, size=images)
    called = np.where(generator.random(images) < 0.01, (labels + 1) % 3, labels)
    return Predictions(0.01 + 0.97 * np.eye(3)[called], labels, ("a", "b", "c"))


@pytest.mark.parametrize(("share", "images", "half_width"), [(0.90, 624, 0.0236), (0.94, 10_000, 0.00466)])
def test_wilson_has_known_widths(share: float, images: int, half_width: float) -> None:
    interval = wilson_interval(share, images, 0.95)

    assert (interval.high - interval.low) / 2 == pytest.approx(half_width, rel=0.01)


def test_wilson_equals_published_values() -> None:
    # Newcombe, R. G. (1998), Statistics in Medicine 17, 857-872, table I, method 3: 81 of 263, and 0 of 20.
    assert wilson_interval(81 / 263, 263, 0.95).low == pytest.approx(0.2553, abs=5e-5)
    assert wilson_interval(81 / 263, 263, 0.95).high == pytest.approx(0.3662, abs=5e-5)
    assert wilson_interval(0.0, 20, 0.95).low == 0
    assert wilson_interval(0.0, 20, 0.95).high == pytest.approx(0.1611, abs=5e-5)


def test_perfect_accuracy_has_an_interval_with_width() -> None:
    interval = wilson_interval(1.0, 253, 0.95)

    assert interval.value == interval.high == 1.0
    assert 0.98 < interval.low < 0.99


def test_groups_of_different_size_are_worth_fewer_draws() -> None:
    assert effective_draws(np.arange(7)) == pytest.approx(7)
    assert effective_draws(np.repeat(np.arange(7), 5)) == pytest.approx(7)
    sizes = [100, *[1] * 50]
    assert effective_draws(np.repeat(np.arange(51), sizes)) == pytest.approx(150**2 / (100**2 + 50))


@pytest.mark.parametrize("sizes", [[20] * 5 + [2] * 50, [60] * 3 + [1] * 60])
def test_accuracy_interval_covers_truth_for_groups_of_different_size(sizes: list[int]) -> None:
    generator = np.random.default_rng(1)
    unit = np.repeat(np.arange(len(sizes)), sizes)
    groups = [str(number) for number in unit]
    covered = 0
    for _ in range(100):
        # A correlation of 0.6 within a group.
        shares = generator.beta(0.85 * 0.67, 0.15 * 0.67, len(sizes))
        labels = np.zeros(len(unit), dtype=np.int64)
        wrong = generator.random(len(unit)) > shares[unit]
        predictions = Predictions(0.1 + 0.8 * np.eye(2)[wrong.astype(int)], labels, ("a", "b"))
        interval = intervals(predictions, groups, settings(50))["accuracy"]
        covered += interval.low <= 0.85 <= interval.high
    assert covered >= 85


def test_class_recall_has_the_interval_of_sensitivity() -> None:
    predictions = noisy(100, classes=2)
    groups = [str(number // 10) for number in range(100)]

    found = class_intervals(split_of(predictions, groups), compute_class_metrics(predictions), 0.95)[
        "recall"
    ]["b"]

    assert found == intervals(predictions, groups, settings(), positive=1)["sensitivity"]


def test_every_interval_is_wider_when_images_are_worth_less() -> None:
    predictions = noisy(120, classes=2)
    independent, dependent = (
        find_intervals(split_of(predictions, alone(predictions), 1, share), settings()) for share in (1, 0.5)
    )

    widths = {name: interval.high - interval.low for name, interval in independent.items()}
    assert all(dependent[name].high - dependent[name].low > width for name, width in widths.items())
    assert dependent["accuracy"] == wilson_interval(float(predictions.correct.mean()), 60, 0.95)


CONFUSIONS = np.array([[18, 2, 0], [0, 30, 0], [0, 0, 0]])


def recalls(share: float, samples: int = 20_000) -> np.ndarray:
    drawn = [
        correct / np.maximum(actual, 1)
        for correct, actual, _ in draw_confusions(CONFUSIONS, share, samples, 0)
    ]
    return np.concatenate(drawn, axis=1)


@pytest.mark.parametrize("share", [1.0, 0.25])
def test_drawn_recalls_have_jeffreys_interval(share: float) -> None:
    for found, right, wrong in zip(recalls(share), (18, 30), (2, 0), strict=False):
        expected = beta(share * right + 0.5, share * wrong + 0.5).ppf([0.025, 0.5, 0.975])
        assert np.quantile(found, [0.025, 0.5, 0.975]) == pytest.approx(expected, abs=0.01)


def test_drawn_confusions_keep_images_per_class() -> None:
    [(correct, actual, predicted)] = draw_confusions(CONFUSIONS, 1.0, 100, 0)

    assert (actual == np.array([[20], [30], [0]])).all()
    assert predicted.sum(axis=0) == pytest.approx(50)
    assert (correct <= actual + 1e-9).all()
    assert (correct[2] == 0).all()


def test_many_classes_are_drawn_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CELLS", 70)

    widths = [correct.shape[1] for correct, _, _ in draw_confusions(CONFUSIONS, 1.0, 100, 0)]

    assert widths == [31, 31, 31, 7]
