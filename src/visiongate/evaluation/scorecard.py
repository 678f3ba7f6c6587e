"""The scorecard: every metric of a model, with its interval."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from visiongate.evaluation.baselines import BaselineResults
from visiongate.evaluation.calibration import expected_calibration_error
from visiongate.evaluation.intervals import class_intervals, find_intervals
from visiongate.evaluation.metrics import (
    MIN_TOP_CLASSES,
    brier_by_image,
    compute_class_metrics,
    compute_metrics,
    compute_positive_metrics,
    loss_by_image,
    top3_by_image,
)
from visiongate.evaluation.operating_point import positive_class
from visiongate.evaluation.sampled_metrics import ResampledSplit
from visiongate.models.predictions import Predictions
from visiongate.records.evaluation import ClassMetrics
from visiongate.records.interval import Interval, number_groups, wilson_interval
from visiongate.settings.evaluation import Evaluation

# The metric on training images minus that on test images.
GAPS = {"accuracy_gap": "accuracy", "f1_gap": "f1_macro"}


@dataclass(frozen=True, slots=True)
class Scorecard:
    """The metrics of a model.

    Attributes:
        metrics: By name.
        intervals: Of the metrics that have one.
        classes: The metrics of each class.
        class_intervals: By metric and class.
    """

    metrics: dict[str, float]
    intervals: dict[str, Interval]
    classes: list[ClassMetrics]
    class_intervals: dict[str, dict[str, Interval]]


@dataclass(frozen=True, slots=True)
class Context:
    """What the metrics need besides the test predictions.

    Attributes:
        groups: Of the test images.
        train: Predictions for training images.
        baselines: On the test images.
        uncalibrated: The test predictions without calibration, or None if it is unknown.
        extra: Further metrics, without an interval.
        independence: How many independent images each test image is worth, at most 1.
        shares: Further metrics, with Wilson's interval.
    """

    groups: Sequence[str | None]
    train: Predictions
    baselines: BaselineResults
    uncalibrated: Predictions | None
    extra: Mapping[str, float] = field(default_factory=dict)
    independence: float = 1.0
    shares: Sequence["ShareOfImages"] = ()


@dataclass(frozen=True, slots=True)
class ShareOfImages:
    """A metric that is the share of the test images with a property.

    Attributes:
        name: Of the metric.
        has_property: N.
        among: N, the images that count; None if all do.
    """

    name: str
    has_property: npt.NDArray[np.bool_]
    among: npt.NDArray[np.bool_] | None = None


def score(test: Predictions, context: Context, settings: Evaluation) -> Scorecard:
    """Compute every metric and its interval.

    Args:
        test: Predictions for the test split.
        context: Training predictions, baselines and further metrics.
        settings: Bins, samples, confidence, seed and the positive class.
    """
    positive = positive_class(test.classes, settings)
    raw, groups = context.uncalibrated, number_groups(context.groups)
    means = _means(test, context.baselines)
    split = ResampledSplit(test, groups, positive, raw, means, context.independence)
    metrics = compute_metrics(test, settings.calibration_bins)
    if raw is not None:
        metrics["ece_uncalibrated"] = expected_calibration_error(
            raw.confidence, raw.correct, settings.calibration_bins
        )
    if positive is not None:
        metrics |= compute_positive_metrics(test, positive)
    if test.threshold is not None:
        metrics["threshold"] = test.threshold
    metrics |= _train_metrics(context.train, metrics, settings)
    metrics |= {**_baseline_metrics(context.baselines, metrics["accuracy"]), **context.extra}
    intervals = find_intervals(split, settings)
    intervals |= {name: _gap_interval(name, metrics, intervals) for name in GAPS}
    shares = _share_intervals(context.shares, split, settings.confidence)
    metrics |= {name: interval.value for name, interval in shares.items()}
    intervals |= shares
    intervals = {name: intervals[name] for name in metrics if name in intervals}
    classes = compute_class_metrics(test)
    by_class = class_intervals(split, classes, settings.confidence)
    return Scorecard(metrics, intervals, classes, by_class)


def _means(
    test: Predictions, baselines: BaselineResults
) -> dict[str, npt.NDArray[np.floating] | npt.NDArray[np.bool_]]:
    """Return the values, N, of each metric that is a mean over images."""
    correct = test.correct.astype(np.float64)
    top = {"top3": top3_by_image(test)} if len(test.classes) >= MIN_TOP_CLASSES else {}
    return {
        **top,
        "log_loss": loss_by_image(test),
        "brier": brier_by_image(test),
        "majority_accuracy": baselines.majority,
        "linear_accuracy": baselines.linear,
        "gain_over_majority": correct - baselines.majority,
        "gain_over_linear": correct - baselines.linear,
    }


def _share_intervals(
    shares: Sequence[ShareOfImages], split: ResampledSplit, confidence: float
) -> dict[str, Interval]:
    """Return the shares with their intervals; a share of no image is missing."""
    return {
        share.name: wilson_interval(float(values.mean()), split.draws(share.among), confidence)
        for share in shares
        for values in [share.has_property if share.among is None else share.has_property[share.among]]
        if len(values)
    }


def _train_metrics(
    train: Predictions, test_metrics: Mapping[str, float], settings: Evaluation
) -> dict[str, float]:
    train_metrics = compute_metrics(train, settings.calibration_bins)
    gaps = {gap: train_metrics[name] - test_metrics[name] for gap, name in GAPS.items()}
    return {f"train_{name}": train_metrics[name] for name in GAPS.values()} | gaps


def _baseline_metrics(baselines: BaselineResults, accuracy: float) -> dict[str, float]:
    majority, linear = float(baselines.majority.mean()), float(baselines.linear.mean())
    return {
        "majority_accuracy": majority,
        "linear_accuracy": linear,
        "gain_over_majority": accuracy - majority,
        "gain_over_linear": accuracy - linear,
    }


def _gap_interval(name: str, metrics: Mapping[str, float], intervals: Mapping[str, Interval]) -> Interval:
    """Return the interval of a gap. Only its test part is uncertain: the training images are given."""
    test, train = intervals[GAPS[name]], metrics[f"train_{GAPS[name]}"]
    return Interval(metrics[name], train - test.high, train - test.low)
