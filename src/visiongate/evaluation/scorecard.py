"""All that is known of a model in numbers: of the test split, and of what it is held against."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from visiongate.evaluation.calibration import expected_calibration_error
from visiongate.evaluation.intervals import Judged, class_intervals, find_intervals
from visiongate.evaluation.metrics import (
    TOP_FROM,
    ClassResult,
    brier_by_image,
    compute_metrics,
    judge_classes,
    judge_positive,
    loss_by_image,
    top_by_image,
    uncalibrated,
)
from visiongate.evaluation.operating_point import positive_class
from visiongate.evaluation.references import References
from visiongate.models.predictions import Predictions
from visiongate.records.interval import Interval
from visiongate.settings.evaluation import Evaluation

GAPS = {"accuracy_gap": "accuracy", "f1_gap": "f1_macro"}  # train less test


@dataclass(frozen=True, slots=True)
class Scorecard:
    """Metrics with their intervals, in all and by class."""

    metrics: dict[str, float]
    intervals: dict[str, Interval]
    classes: list[ClassResult]
    class_intervals: dict[str, dict[str, Interval]]  # by metric and class


@dataclass(frozen=True, slots=True)
class Context:
    """What the predictions of the test split do not tell by themselves."""

    groups: Sequence[str | None]  # of the test images
    train: Predictions  # of training images
    references: References
    temperature: float | None  # that is in the model, where that is known
    facts: Mapping[str, float] = field(default_factory=dict)  # further metrics, taken as they are


def score(test: Predictions, context: Context, settings: Evaluation) -> Scorecard:
    """Compute every metric and its interval.

    Args:
        test: Of the test split.
        context: What it is held against.
        settings: Bins, samples, confidence, seed and the positive class.
    """
    positive = positive_class(test.classes, settings)
    raw = None if context.temperature is None else uncalibrated(test, context.temperature)
    judged = Judged(test, context.groups, positive, raw, _means(test, context.references))
    intervals = find_intervals(judged, settings)
    metrics = compute_metrics(test, settings.calibration_bins)
    if raw is not None:
        metrics["ece_uncalibrated"] = expected_calibration_error(
            raw.confidence, raw.correct, settings.calibration_bins
        )
    if positive is not None:
        metrics |= judge_positive(test, positive)
    if test.threshold is not None:
        metrics["threshold"] = test.threshold
    metrics |= _train_metrics(context.train, metrics, settings)
    metrics |= {**_reference_metrics(context.references, metrics), **context.facts}
    intervals |= {name: _gap(name, metrics, intervals) for name in GAPS}
    classes = judge_classes(test)
    by_class = class_intervals(test, context.groups, classes, settings.confidence)
    return Scorecard(
        metrics, {name: intervals[name] for name in metrics if name in intervals}, classes, by_class
    )


def _means(
    test: Predictions, references: References
) -> dict[str, npt.NDArray[np.floating] | npt.NDArray[np.bool_]]:
    """Return the metrics that are a mean over images, each by its values."""
    right = test.correct.astype(np.float64)
    top = {"top3": top_by_image(test)} if len(test.classes) >= TOP_FROM else {}
    return {
        **top,
        "log_loss": loss_by_image(test),
        "brier": brier_by_image(test),
        "majority_accuracy": references.majority,
        "linear_accuracy": references.linear,
        "gain_over_majority": right - references.majority,
        "gain_over_linear": right - references.linear,
    }


def _train_metrics(
    train: Predictions, metrics: Mapping[str, float], settings: Evaluation
) -> dict[str, float]:
    known = compute_metrics(train, settings.calibration_bins)
    found = {f"train_{name}": known[name] for name in GAPS.values()}
    return found | {gap: known[name] - metrics[name] for gap, name in GAPS.items()}


def _reference_metrics(references: References, metrics: Mapping[str, float]) -> dict[str, float]:
    majority, linear = float(references.majority.mean()), float(references.linear.mean())
    accuracy = metrics["accuracy"]
    return {
        "majority_accuracy": majority,
        "linear_accuracy": linear,
        "gain_over_majority": accuracy - majority,
        "gain_over_linear": accuracy - linear,
    }


def _gap(name: str, metrics: Mapping[str, float], intervals: Mapping[str, Interval]) -> Interval:
    """Return the interval of a gap: the training images are the ones trained on, so that the test split's alone counts."""
    test, train = intervals[GAPS[name]], metrics[f"train_{GAPS[name]}"]
    return Interval(metrics[name], train - test.high, train - test.low)
