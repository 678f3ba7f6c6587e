"""Evaluate a model on the test split: predictions, metrics, slices, label errors, robustness, leaks and the gate."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import pyarrow as pa

from visiongate.errors import DataError
from visiongate.evaluation.baselines import evaluate_baselines
from visiongate.evaluation.corruptions import mean_corruption_accuracy, measure_robustness, sample_images
from visiongate.evaluation.label_errors import LabelErrors, find_label_errors
from visiongate.evaluation.latency import measure_latency
from visiongate.evaluation.leaks import find_leaks
from visiongate.evaluation.operating_point import choose_threshold
from visiongate.evaluation.scorecard import Context, Scorecard, score
from visiongate.evaluation.slices import find_slices, read_attributes
from visiongate.gate.rules import Measured, apply_rules
from visiongate.images.pixels import PixelSplit
from visiongate.models.predictions import Predictions, predict_split
from visiongate.models.predictor import Predictor
from visiongate.records.evaluation import Leak, Slice, worst_slice
from visiongate.records.verdict import GateVerdict
from visiongate.settings.evaluation import Evaluation
from visiongate.settings.schema import Settings

# Enough for the gap between training and test metrics.
MAX_TRAIN_IMAGES = 10_000


@dataclass(frozen=True, slots=True)
class Split:
    """The images of a split and their manifest, in the same order."""

    pixels: PixelSplit
    manifest: pa.Table


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
    """The result of an evaluation."""

    test: Predictions
    card: Scorecard
    diagnosis: Diagnosis
    leaks: list[Leak]
    latency: dict[str, float]
    verdict: GateVerdict


def evaluate_model(
    model: Predictor, splits: Mapping[str, Split], failed_expectations: int, settings: Settings
) -> EvaluationResult:
    """Evaluate a model.

    Args:
        model: The exported model.
        splits: ``train``, ``val`` and ``test``.
        failed_expectations: Critical expectations about the data that failed.
        settings: The sections ``evaluation`` and ``gate``.

    Raises:
        DataError: A split does not fit the model.
        SettingsError: The settings do not fit the classes.
    """
    chosen, test = settings.evaluation, splits["test"]
    predictions = _predict(model, splits, chosen)
    leaks = find_leaks(
        {name: split.pixels.images for name, split in splits.items()},
        {name: split.manifest for name, split in splits.items()},
    )
    diagnosis = diagnose(model, predictions["test"], test, chosen)
    counts = {"leaked_images": len(leaks), "failed_expectations": failed_expectations}
    context = Context(
        test.manifest.column("group").to_pylist(),
        predictions["train"],
        evaluate_baselines(splits["train"].pixels, test.pixels, chosen.seed),
        model.temperature,
        {**diagnosis.metrics(), **counts},
    )
    card = score(predictions["test"], context, chosen)
    latency = measure_latency(model, test.pixels.images, chosen)
    measured = Measured(
        {**card.metrics, **latency}, card.intervals, card.class_intervals, predictions["test"].classes
    )
    verdict = apply_rules(settings.gate.rules, measured)
    return EvaluationResult(predictions["test"], card, diagnosis, leaks, latency, verdict)


def diagnose(model: Predictor, predictions: Predictions, test: Split, settings: Evaluation) -> Diagnosis:
    """Find where the model fails on the test split.

    Args:
        model: The model.
        predictions: For the test split.
        test: The test split.
        settings: Sizes, seed and confidence.
    """
    attributes = read_attributes(test.pixels.images, test.manifest)
    slices = find_slices(predictions, attributes, settings.confidence, settings.slice_images)
    return Diagnosis(
        slices,
        worst_slice(slices, settings.slice_images),
        find_label_errors(predictions, test.manifest.column("path").to_pylist()),
        _measure_robustness(model, test.pixels, settings),
    )


def _measure_robustness(model: Predictor, test: PixelSplit, settings: Evaluation) -> dict[str, list[float]]:
    if not settings.corruption_images:
        return {}
    rows = sample_images(test.labels, settings.corruption_images, settings.seed)
    return measure_robustness(model, test.images[rows], test.labels[rows], settings.seed, settings.batch_size)


def _predict(model: Predictor, splits: Mapping[str, Split], settings: Evaluation) -> dict[str, Predictions]:
    """Predict the test split and at most `MAX_TRAIN_IMAGES` training images, with the threshold chosen on validation."""
    predicted = {"train": _thin(splits["train"], MAX_TRAIN_IMAGES), "test": splits["test"]}
    if settings.threshold != "argmax":
        predicted["val"] = splits["val"]
    predictions = {name: _predict_split(model, name, split, settings) for name, split in predicted.items()}
    threshold = choose_threshold(predictions.get("val", predictions["test"]), settings)
    return {name: replace(each, threshold=threshold) for name, each in predictions.items()}


def _predict_split(model: Predictor, name: str, split: Split, settings: Evaluation) -> Predictions:
    try:
        return predict_split(model, split.pixels, split.manifest, settings.batch_size)
    except DataError as error:
        raise DataError(f"{name} split: {error}") from None


def _thin(split: Split, max_images: int) -> Split:
    """Keep every k-th image, so that at most ``max_images`` remain."""
    images, labels = split.pixels.images, split.pixels.labels
    step = max(1, math.ceil(len(labels) / max_images))
    rows = pa.array(range(0, len(labels), step), pa.int64())
    return Split(PixelSplit(images[::step], labels[::step]), split.manifest.take(rows))
