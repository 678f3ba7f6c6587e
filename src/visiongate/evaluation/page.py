"""The judged model as one page that opens from disk: the verdict first, then what it rests on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from visiongate.evaluation.calibration import calibration_curve
from visiongate.evaluation.curves import precision_recall_points, roc_points
from visiongate.evaluation.diagnosis import Diagnosis
from visiongate.evaluation.figures import (
    draw_classes,
    draw_confidence,
    draw_confusion,
    draw_precision_recall,
    draw_reliability,
    draw_robustness,
    draw_roc,
    draw_training,
)
from visiongate.evaluation.gallery import Gallery, embed, small_enough
from visiongate.evaluation.latency import LATENCY
from visiongate.evaluation.metrics import count_confusions
from visiongate.evaluation.scorecard import Scorecard
from visiongate.models.predictions import Predictions
from visiongate.pages.rendering import render_page
from visiongate.records.files import atomic_path, write_text
from visiongate.records.history import EpochMetrics
from visiongate.records.verdict import GateVerdict

HEADLINES = ("accuracy", "f1_macro", "recall_min", "sensitivity", "specificity", "roc_auc", "ece")
MOST_SLICES = 30
TITLES = {
    "confusion": "What is taken for what",
    "classes": "Recall of each class",
    "reliability": "Is it as sure as it is right?",
    "confidence": "How sure it is",
    "roc": "ROC: each class against the rest",
    "precision_recall": "Precision by recall",
    "robustness": "On worse pictures",
    "training": "How it was trained",
}


@dataclass(frozen=True, slots=True)
class Report:
    """What the page shows."""

    model: str
    dataset: str
    test: Predictions
    card: Scorecard
    verdict: GateVerdict
    diagnosis: Diagnosis
    galleries: Sequence[Gallery]
    history: Sequence[EpochMetrics]  # by epoch; empty where it is not known
    confidence: float  # of the intervals


def write_report(report: Report, bins: int, folder: Path) -> None:
    """Write ``index.html`` and, by their names, the pictures in ``pictures/``.

    Args:
        report: What to show.
        bins: Of the reliability diagram.
        folder: Where to.
    """
    pictures = draw_pictures(report, bins)
    for name, content in pictures.items():
        with atomic_path(folder / "pictures" / f"{name}.png") as temporary:
            temporary.write_bytes(content)
    write_text(folder / "index.html", render_report(report, pictures))


def draw_pictures(report: Report, bins: int) -> dict[str, bytes]:
    """Draw the pictures as PNG, in the order in which a reviewer asks for them; what there is nothing to draw of is missing."""
    test, card = report.test, report.card
    likeliest = test.by_probability()
    curve = calibration_curve(likeliest.confidence, likeliest.correct, bins)
    pictures = {
        "confusion": draw_confusion(count_confusions(test), test.classes),
        "classes": draw_classes(card.classes, card.class_intervals["recall"]),
        "reliability": draw_reliability(curve),
        "confidence": draw_confidence(test.confidence, test.correct),
    }
    if "roc_auc" in card.metrics:
        rates, precisions = _curves(test)
        pictures["roc"] = draw_roc(rates, test.classes, card.metrics["roc_auc"])
        average = card.classes[-1].average_precision if len(test.classes) == 2 else None  # noqa: PLR2004
        average = card.metrics["average_precision"] if average is None else average
        pictures["precision_recall"] = draw_precision_recall(precisions, test.classes, average)
    if report.diagnosis.robustness:
        pictures["robustness"] = draw_robustness(report.diagnosis.robustness)
    if report.history:
        pictures["training"] = draw_training(report.history)
    return pictures


def render_report(report: Report, pictures: Mapping[str, bytes]) -> str:
    """Return the page."""
    return render_page(
        "evaluation/page.html",
        report=report,
        headlines=[name for name in HEADLINES if name in report.card.metrics],
        pictures=[(TITLES[name], content) for name, content in pictures.items()],
        slices=sorted(report.diagnosis.slices, key=lambda each: each.accuracy)[:MOST_SLICES],
        measured=LATENCY,  # by which the page would differ from run to run
        embed=embed,
        small_enough=small_enough,
    )


def _curves(
    test: Predictions,
) -> tuple[dict[str, list[tuple[float, float]]], dict[str, list[tuple[float, float]]]]:
    """Return each class's ROC curve, and its precision by recall."""
    rates: dict[str, list[tuple[float, float]]] = {}
    precisions: dict[str, list[tuple[float, float]]] = {}
    for rate in roc_points(test):
        rates.setdefault(rate.name, []).append((rate.fpr, rate.tpr))
    for point in precision_recall_points(test):
        precisions.setdefault(point.name, []).append((point.recall, point.precision))
    return rates, precisions
