"""Evaluated models with any number of classes, without a model file."""

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits

from evaluation_settings import PARAMS, evaluation_settings
from visiongate.evaluation.baselines import BaselineResults
from visiongate.evaluation.gallery import pick_galleries
from visiongate.evaluation.label_errors import find_label_errors
from visiongate.evaluation.metrics import undo_temperature
from visiongate.evaluation.page import Report
from visiongate.evaluation.result import Diagnosis, EvaluationResult
from visiongate.evaluation.scorecard import Context, score
from visiongate.evaluation.slices import ImageAttributes, find_slices
from visiongate.gate.rules import Measured, apply_rules
from visiongate.models.predictions import Predictions
from visiongate.records.evaluation import worst_slice
from visiongate.records.history import EpochMetrics
from visiongate.settings.loading import load_settings

IMAGES = 300
HOSTILE = "<script>alert('x')</script> | a `class` of $many$ words"


def digit_images() -> npt.NDArray[np.uint8]:
    """Return real images, whatever the names of the classes."""
    images: npt.NDArray[np.uint8] = (load_digits().images[:IMAGES, ..., None] * 15.9).astype(np.uint8)
    return images


def evaluated_report(classes: int = 10, skill: float = 2.0, *, complete: bool = True) -> Report:
    """Evaluate random logits that are higher by ``skill`` for the true class; the first class has a hostile name.

    Args:
        classes: Number of classes.
        skill: Of the model.
        complete: Whether robustness and training history are known.
    """
    generator = np.random.default_rng(classes)
    labels = np.arange(IMAGES) % classes
    logits = generator.normal(size=(IMAGES, classes)) + skill * np.eye(classes)[labels]
    shares = np.exp(1.5 * logits)
    names = (HOSTILE, *(f"class {number}" for number in range(1, classes)))
    test = Predictions(shares / shares.sum(axis=1, keepdims=True), labels, names)
    paths = [f"{HOSTILE}/{number}.png" for number in range(IMAGES)]
    images = digit_images()
    diagnosis = diagnose(test, images, paths, complete=complete)
    extra = {**diagnosis.metrics(), "leaked_images": 0, "failed_expectations": 0}
    baselines = BaselineResults(labels == 0, generator.random(IMAGES) < 0.4)
    card = score(
        test,
        Context([None] * IMAGES, test, baselines, undo_temperature(test, 1.3), extra),
        evaluation_settings(bootstrap_samples=50),
    )
    measured = Measured(card.metrics, card.intervals, card.class_intervals, names)
    verdict = apply_rules(load_settings(PARAMS).gate.rules, measured)
    history = [EpochMetrics(epoch, 0.1, 2 / epoch, 0.9, 2.2 / epoch, 0.8) for epoch in (1, 2, 3)]
    return Report(
        model="small_cnn",
        dataset="digits",
        result=EvaluationResult(test, card, diagnosis, [], {}, verdict),
        galleries=pick_galleries(test, images, paths, diagnosis.label_errors, 6),
        history=history if complete else [],
        confidence=0.95,
    )


def diagnose(
    test: Predictions, images: npt.NDArray[np.uint8], paths: list[str], *, complete: bool
) -> Diagnosis:
    """Return slices by class and brightness, label errors, and made-up robustness."""
    attributes = ImageAttributes(
        np.full(IMAGES, np.nan), images.mean(axis=(1, 2, 3)), ["a"] * IMAGES, [None] * IMAGES
    )
    slices = find_slices(test, attributes, 0.95, 20)
    robustness = {name: [0.9, 0.8, 0.7, 0.6, 0.5, 0.4] for name in ("blur", "noise")}
    return Diagnosis(
        slices, worst_slice(slices, 20), find_label_errors(test, paths), robustness if complete else {}
    )
