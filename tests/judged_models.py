"""Models that are judged already, of any number of classes, without a model file."""

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits

from evaluation_settings import PARAMS, evaluation_settings
from visiongate.evaluation.corruptions import RobustnessRow
from visiongate.evaluation.diagnosis import Diagnosis
from visiongate.evaluation.gallery import pick_galleries
from visiongate.evaluation.label_errors import find_label_errors
from visiongate.evaluation.page import Report
from visiongate.evaluation.references import References
from visiongate.evaluation.scorecard import Context, score
from visiongate.evaluation.slices import Description, cut_slices
from visiongate.gate.rules import Measured, apply_rules
from visiongate.models.predictions import Predictions
from visiongate.records.evaluation import worst_slice
from visiongate.records.history import EpochMetrics
from visiongate.settings.loading import load_settings

IMAGES = 300
HOSTILE = "<script>alert('x')</script> | a `class` of $many$ words"


def digit_images() -> npt.NDArray[np.uint8]:
    """Real pictures, whatever the classes are called."""
    images: npt.NDArray[np.uint8] = (load_digits().images[:IMAGES, ..., None] * 15.9).astype(np.uint8)
    return images


def judged_report(classes: int = 10, skill: float = 2.0, *, robust: bool = True) -> Report:
    """Judge a model whose logits are noise, and higher by ``skill`` for the true class; the first class has a hostile name."""
    generator = np.random.default_rng(classes)
    labels = np.arange(IMAGES) % classes
    logits = generator.normal(size=(IMAGES, classes)) + skill * np.eye(classes)[labels]
    shares = np.exp(1.5 * logits)
    names = (HOSTILE, *(f"class {number}" for number in range(1, classes)))
    test = Predictions(shares / shares.sum(axis=1, keepdims=True), labels, names)
    references = References(labels == 0, generator.random(IMAGES) < 0.4)
    images, settings = digit_images(), evaluation_settings(bootstrap_samples=50)
    slices = cut_slices(test, [Description(float(image.mean()), "a", None) for image in images], 0.95, 20)
    rows = [RobustnessRow(name, grade, 0.9 - 0.1 * grade) for name in ("blur", "noise") for grade in range(6)]
    diagnosis = Diagnosis(slices, worst_slice(slices, 20), find_label_errors(test), rows if robust else [])
    facts = {**diagnosis.facts(), "leaked_images": 0, "failed_expectations": 0}
    card = score(test, Context([None] * IMAGES, test, references, 1.3, facts), settings)
    evidence = Measured(card.metrics, card.intervals, card.class_intervals, names)
    suspects = diagnosis.label_errors.suspects
    paths = [f"{HOSTILE}/{number}.png" for number in range(IMAGES)]
    return Report(
        model="small_cnn",
        dataset="digits",
        test=test,
        card=card,
        verdict=apply_rules(load_settings(PARAMS).gate.rules, evidence),
        diagnosis=diagnosis,
        galleries=pick_galleries(test, images, paths, suspects, 6),
        history=[EpochMetrics(epoch, 0.1, 2 / epoch, 0.9, 2.2 / epoch, 0.8) for epoch in (1, 2, 3)]
        if robust
        else [],
        confidence=0.95,
    )
