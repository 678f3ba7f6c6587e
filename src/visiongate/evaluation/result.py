"""Evaluate a model on the test images: predictions, metrics, slices, label errors, robustness, leaks and the gate."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from visiongate.evaluation.corruptions import mean_corruption_accuracy
from visiongate.evaluation.folds import (
    JudgedFold,
    Split,
    find_fold_leaks,
    judge_baselines,
    judge_robustness,
    judged_images,
    predict_judged,
    predict_training,
    training_images,
)
from visiongate.evaluation.label_errors import LabelErrors, find_label_errors
from visiongate.evaluation.latency import measure_latency
from visiongate.evaluation.reliability import ReliabilityResult, judge_reliability
from visiongate.evaluation.scorecard import Context, Scorecard, score
from visiongate.evaluation.slices import ImageAttributes, find_slices, read_attributes
from visiongate.gate.rules import Measured, apply_rules
from visiongate.images.pixels import PixelSplit
from visiongate.models.predictions import Predictions
from visiongate.models.predictor import Predictor
from visiongate.records.evaluation import Leak, Slice, worst_slice
from visiongate.records.verdict import GateVerdict
from visiongate.settings.evaluation import Evaluation
from visiongate.settings.schema import Settings

# Enough for the gap between training and test metrics.
MAX_TRAIN_IMAGES = 10_000
# The models of the folds share most of their training images, so that a cross-validated metric varies more than that of as many
# independent images. There is no unbiased estimate of its variance: Bengio, Y., Grandvalet, Y. (2004), No unbiased estimator of
# the variance of k-fold cross-validation, JMLR 5. With this share of independent images, 95% intervals cover the accuracy of
# the models of the folds in about 95% of the data sets of benchmarks/coverage.py.
CROSS_VALIDATED = 2 / 3


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Where the model fails on the test split.

    Attributes:
        slices: All slices.
        worst: The slice with the lowest accuracy, if one is large enough.
        label_errors: Likely label errors.
        robustness: Accuracy by corruption, for each severity from 0; empty if it was not measured.
    """

    slices: list[Slice]
    worst: Slice | None
    label_errors: LabelErrors
    robustness: dict[str, list[float]]

    def metrics(self) -> dict[str, float]:
        """Return the metrics that were measured."""
        metrics = {}
        if self.worst is not None:
            metrics["worst_slice_accuracy"] = self.worst.accuracy
        if self.robustness:
            metrics["corrupted_accuracy"] = mean_corruption_accuracy(self.robustness)
        return metrics


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """The result of an evaluation.

    Attributes:
        test: The predictions for the test images, in the order of `judged_images`.
        card: The metrics.
        diagnosis: Where the model fails.
        leaks: Test images that the model knows.
        latency: Of the exported model.
        verdict: Of the gate.
        folds: How many models predicted the test images: 1, or one for each fold of a cross-validation.
        reliability: Whether the model knows what it does not know; None if it does not state it.
    """

    test: Predictions
    card: Scorecard
    diagnosis: Diagnosis
    leaks: list[Leak]
    latency: dict[str, float]
    verdict: GateVerdict
    folds: int = 1
    reliability: ReliabilityResult | None = None


def evaluate_model(
    model: Predictor, folds: Sequence[JudgedFold], failed_expectations: int, settings: Settings
) -> EvaluationResult:
    """Evaluate a model.

    Args:
        model: The exported model, whose latency and training accuracy are measured.
        folds: The images that judge it.
        failed_expectations: Critical expectations about the data that failed.
        settings: The sections ``evaluation`` and ``gate``, and the name of the data set.

    Raises:
        DataError: A split does not fit the model.
        SettingsError: The settings do not fit the classes.
    """
    chosen, test = settings.evaluation, judged_images(folds)
    predictions, uncalibrated = predict_judged(folds, chosen)
    leaks = find_fold_leaks(folds)
    independence = CROSS_VALIDATED if len(folds) > 1 else 1.0
    attributes = read_attributes(test.pixels.images, test.manifest, independence)
    paths = test.manifest.column("path").to_pylist()
    robustness = judge_robustness(folds, chosen)
    diagnosis = diagnose(predictions, paths, attributes, robustness.accuracies if robustness else {}, chosen)
    reliability = judge_reliability(model, folds, predictions, robustness, settings.dataset.name)
    counts = {"leaked_images": len(leaks), "failed_expectations": failed_expectations}
    context = Context(
        attributes.groups,
        predict_training(model, _thin(training_images(folds)), predictions.threshold),
        judge_baselines(folds, chosen.seed),
        uncalibrated,
        diagnosis.metrics() | (reliability.metrics() if reliability else {}) | counts,
        independence,
        [] if reliability is None else reliability.shares(predictions),
    )
    card = score(predictions, context, chosen)
    latency = measure_latency(model, test.pixels.images, chosen)
    measured = Measured(
        {**card.metrics, **latency}, card.intervals, card.class_intervals, predictions.classes
    )
    verdict = apply_rules(settings.gate.rules, measured)
    return EvaluationResult(predictions, card, diagnosis, leaks, latency, verdict, len(folds), reliability)


def diagnose(
    predictions: Predictions,
    paths: Sequence[str],
    attributes: ImageAttributes,
    robustness: dict[str, list[float]],
    settings: Evaluation,
) -> Diagnosis:
    """Find where the model fails on the test images.

    Args:
        predictions: For the test images.
        paths: Of the test images.
        attributes: Of the test images.
        robustness: The accuracy on corrupted images.
        settings: Sizes and confidence.
    """
    slices = find_slices(predictions, attributes, settings.confidence, settings.slice_images)
    worst = worst_slice(slices, settings.slice_images)
    return Diagnosis(slices, worst, find_label_errors(predictions, paths), robustness)


def _thin(split: Split) -> Split:
    """Keep every k-th image, so that at most `MAX_TRAIN_IMAGES` remain."""
    images, labels = split.pixels.images, split.pixels.labels
    step = max(1, math.ceil(len(labels) / MAX_TRAIN_IMAGES))
    rows = pa.array(range(0, len(labels), step), pa.int64())
    return Split(PixelSplit(images[::step], labels[::step]), split.manifest.take(rows))
