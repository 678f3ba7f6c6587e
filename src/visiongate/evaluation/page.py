"""The page ``reports/evaluation/index.html``: the gate's verdict, the metrics, figures and galleries of a model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from visiongate.evaluation.calibration import calibration_curve
from visiongate.evaluation.curves import confidence_bins, precision_recall_points, roc_points
from visiongate.evaluation.explanations import EmbeddingMap, Explanations
from visiongate.evaluation.figures import (
    draw_classes,
    draw_confidence,
    draw_confusion,
    draw_embeddings,
    draw_precision_recall,
    draw_reliability,
    draw_robustness,
    draw_roc,
    draw_training,
)
from visiongate.evaluation.folds import Split
from visiongate.evaluation.gallery import (
    MAX_SIDE,
    SIMILAR_SIDE,
    Gallery,
    is_pixelated,
    pick_galleries,
    thumbnail_uri,
)
from visiongate.evaluation.latency import LATENCY
from visiongate.evaluation.metrics import count_confusions
from visiongate.evaluation.result import EvaluationResult
from visiongate.evaluation.scorecard import Scorecard
from visiongate.pages.rendering import render_page
from visiongate.records.evaluation import ClassMetrics, NoveltyShare, describe_protocol
from visiongate.records.files import atomic_path, write_text
from visiongate.records.history import EpochMetrics
from visiongate.records.interval import Interval
from visiongate.records.metrics import HEADLINES, METRICS, title
from visiongate.settings.schema import Settings

MAX_SLICES, MAX_WORSE_SLICES = 30, 3
# The adjusted p-value below which a slice is significantly worse than the rest.
SIGNIFICANT = 0.05
TITLES = {
    "confusion": "Confusion matrix",
    "classes": "Recall by class",
    "reliability": "Calibration",
    "confidence": "Confidence",
    "roc": "ROC curve",
    "precision_recall": "Precision-recall curve",
    "robustness": "Accuracy on corrupted images",
    "embeddings": "Map of the embeddings (t-SNE)",
    "training": "Training",
}


@dataclass(frozen=True, slots=True)
class Report:
    """The content of the page.

    Attributes:
        model: The name of the model.
        dataset: The name of the data set.
        result: The evaluation.
        galleries: Images to look at.
        history: The training, by epoch.
        confidence: Of the intervals.
        explanations: Of the images in the galleries.
        embeddings: None for a model without embeddings.
    """

    model: str
    dataset: str
    result: EvaluationResult
    galleries: Sequence[Gallery]
    history: Sequence[EpochMetrics]
    confidence: float
    explanations: Explanations | None = None
    embeddings: EmbeddingMap | None = None

    @property
    def rows(self) -> list[int]:
        """The rows of the judged images in the galleries."""
        return [tile.row for gallery in self.galleries for tile in gallery.tiles]


def build_report(
    result: EvaluationResult, test: Split, history: Sequence[EpochMetrics], settings: Settings
) -> Report:
    """Collect the content of the page."""
    galleries = pick_galleries(
        result.test,
        test.pixels.images,
        test.manifest.column("path").to_pylist(),
        result.diagnosis.label_errors,
        settings.evaluation.gallery_images,
    )
    return Report(
        settings.model.name, settings.dataset.name, result, galleries, history, settings.evaluation.confidence
    )


def write_report(report: Report, bins: int, folder: Path) -> None:
    """Write ``index.html`` and the figures, as ``pictures/NAME.png``.

    Args:
        report: The content.
        bins: Of the reliability diagram.
        folder: Where to write.
    """
    figures = draw_figures(report, bins)
    for name, content in figures.items():
        with atomic_path(folder / "pictures" / f"{name}.png") as temporary:
            temporary.write_bytes(content)
    write_text(folder / "index.html", render_report(report, figures))


def draw_figures(report: Report, bins: int) -> dict[str, bytes]:
    """Return the figures as PNG, by name; a figure without data is left out."""
    test, card = report.result.test, report.result.card
    probable = test.by_probability()
    figures = {
        "confusion": draw_confusion(count_confusions(test), test.classes),
        "classes": draw_classes(card.classes, card.class_intervals["recall"]),
        "reliability": draw_reliability(calibration_curve(probable.confidence, probable.correct, bins)),
        "confidence": draw_confidence(confidence_bins(test)),
    }
    if "roc_auc" in card.metrics:
        # Of two classes, the curve is that of the second.
        second = card.classes[1].average_precision if len(test.classes) == 2 else None  # noqa: PLR2004
        average = card.metrics["average_precision"] if second is None else second
        figures["roc"] = draw_roc(roc_points(test), card.classes, card.metrics["roc_auc"])
        figures["precision_recall"] = draw_precision_recall(
            precision_recall_points(test), card.classes, average
        )
    if report.result.diagnosis.robustness:
        figures["robustness"] = draw_robustness(report.result.diagnosis.robustness)
    if report.embeddings:
        figures["embeddings"] = draw_embeddings(report.embeddings, test)
    # A model that is fitted in one step has no curve.
    if len(report.history) > 1:
        figures["training"] = draw_training(report.history)
    return figures


def render_report(report: Report, figures: Mapping[str, bytes]) -> str:
    """Return the page."""
    result = report.result
    worst = _worst_class(result.card.classes)
    slices = sorted(result.diagnosis.slices, key=lambda each: (each.p_value, each.accuracy))
    return render_page(
        "evaluation/page.html",
        report=report,
        result=result,
        protocol=describe_protocol(result.folds, len(result.test.labels)),
        rules=result.verdict.worst_first,
        headlines=[METRICS[name] for name in HEADLINES if name in result.card.metrics],
        figures=[(_caption(name, result.folds), content) for name, content in figures.items()],
        worst_class=worst,
        intervals=_page_intervals(result.card, worst),
        worse_slices=[each for each in slices if each.p_value < SIGNIFICANT],
        max_worse_slices=MAX_WORSE_SLICES,
        slices=slices[:MAX_SLICES],
        significant=SIGNIFICANT,
        reliability=result.reliability,
        novelty=[] if result.reliability is None else _summarize_novelty(result.reliability.novelty),
        # Measured times are left out, so that the page is the same in every run.
        measured=LATENCY,
        thumbnail_uri=thumbnail_uri,
        max_side=MAX_SIDE,
        similar_side=SIMILAR_SIDE,
        is_pixelated=is_pixelated,
        title=title,
    )


@dataclass(frozen=True, slots=True)
class _NoveltyRow:
    """A row of the page: some images, and the share called out of distribution, at the lowest and the highest severity."""

    name: str
    images: int
    first: float
    last: float | None


def _summarize_novelty(shares: Sequence[NoveltyShare]) -> list[_NoveltyRow]:
    """Return a row for each kind of images, foreign ones first after the test images."""
    rows = []
    for kind, title_of in (("test", "{}"), ("foreign", "foreign: {}"), ("corrupted", "corrupted: {}")):
        for name in dict.fromkeys(each.name for each in shares if each.kind == kind):
            own = [each for each in shares if (each.kind, each.name) == (kind, name)]
            last = own[-1].share if len(own) > 1 else None
            rows.append(_NoveltyRow(title_of.format(name), own[0].images, own[0].share, last))
    return rows


def _caption(name: str, folds: int) -> str:
    of_folds = {
        "training": f", mean of the {folds} folds",
        "embeddings": ", of the exported model",
    }
    return f"{TITLES[name]}{of_folds.get(name, '') if folds > 1 else ''}"


def _page_intervals(card: Scorecard, worst: ClassMetrics | None) -> dict[str, Interval]:
    """Return the intervals of the metrics. The lowest recall has that of its class, so that the page states one."""
    if worst is None or "recall_min" not in card.intervals:
        return card.intervals
    return card.intervals | {"recall_min": card.class_intervals["recall"][worst.name]}


def _worst_class(classes: Sequence[ClassMetrics]) -> ClassMetrics | None:
    """Return the class with the lowest recall, if a class is not recognized completely."""
    missed = [each for each in classes if each.recall is not None and each.errors]
    return min(missed, key=lambda each: each.recall or 0.0, default=None)
