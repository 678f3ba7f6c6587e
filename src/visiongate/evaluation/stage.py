"""Evaluate the exported model on the test split, and apply the quality gate."""

import logging
from dataclasses import replace
from pathlib import Path

from visiongate import paths
from visiongate.evaluation.calibration import calibration_curve
from visiongate.evaluation.corruptions import CORRUPTIONS
from visiongate.evaluation.curves import confidence_bins, confusion_rows, precision_recall_points, roc_points
from visiongate.evaluation.explanations import explain, map_embeddings
from visiongate.evaluation.folds import Split, judged_images, read_folds, read_holdout
from visiongate.evaluation.metrics import format_report
from visiongate.evaluation.page import build_report, write_report
from visiongate.evaluation.reference import Judgment, build_reference
from visiongate.evaluation.result import EvaluationResult, evaluate_model
from visiongate.images.integrity import check_arrays
from visiongate.models.predictions import check_contract, tabulate
from visiongate.models.predictor import open_predictor
from visiongate.records.csv_rows import write_rows
from visiongate.records.drift_reference import REFERENCE_FILE, write_reference
from visiongate.records.evaluation import (
    CLASSES_FILE,
    CONFUSION_FILE,
    NOVELTY_FILE,
    SLICES_FILE,
    CalibrationBin,
    ClassMetrics,
    ConfidenceBin,
    ConfusionRow,
    Leak,
    NoveltyShare,
    PrecisionRecallPoint,
    RocPoint,
    Slice,
    SuspectedLabel,
    write_intervals,
    write_metrics,
    write_robustness,
)
from visiongate.records.files import write_text
from visiongate.records.history import read_history
from visiongate.records.predictions import write_predictions
from visiongate.records.transform import TRANSFORM_FILE
from visiongate.records.validation import read_validation
from visiongate.records.verdict import write_verdict
from visiongate.settings.schema import Settings

log = logging.getLogger(__name__)


def run(settings: Settings) -> None:
    """Write metrics, latency and the gate's verdict to ``reports/``, and the details to ``reports/evaluation/``."""
    transform, model = check_arrays(paths.TRANSFORMED), open_predictor(paths.MODEL_ONNX)
    is_holdout = transform.protocol == "holdout"
    folds = read_holdout(paths.TRANSFORMED, model) if is_holdout else read_folds(paths.TRANSFORMED)
    for predictor in (model, *(fold.model for fold in folds)):
        check_contract(predictor, transform, str(paths.TRANSFORMED / TRANSFORM_FILE))
    result, test = evaluate_model(model, folds, _count_failed_expectations(), settings), judged_images(folds)
    write_metrics(paths.METRICS, result.card.metrics)
    write_metrics(paths.LATENCY, result.latency)
    write_verdict(paths.GATE, result.verdict)
    bins = settings.evaluation.calibration_bins
    _write_tables(paths.EVALUATION, result, test)
    outside = None if result.reliability is None else result.reliability.outside
    judgment = Judgment(result.test, transform.protocol, outside)
    reference = build_reference(model, test, judgment, settings.evaluation.reference_images)
    write_reference(paths.EVALUATION / REFERENCE_FILE, reference)
    _write_plots(paths.EVALUATION / "plots", result, bins)
    report = build_report(result, test, read_history(paths.HISTORY), settings)
    explanations = explain(folds, result.test, report.rows)
    report = replace(report, explanations=explanations, embeddings=map_embeddings(model, test.pixels))
    write_report(report, bins, paths.EVALUATION)
    _log_summary(result)


def _count_failed_expectations() -> int:
    """Return how many critical expectations about the data failed."""
    return len(read_validation(paths.VALIDATION / "result.json").failed("critical"))


def _write_tables(folder: Path, result: EvaluationResult, test: Split) -> None:
    write_intervals(folder, result.card.intervals)
    write_text(folder / "classification_report.txt", format_report(result.test))
    write_rows(folder / CLASSES_FILE, result.card.classes, ClassMetrics)
    write_rows(folder / SLICES_FILE, result.diagnosis.slices, Slice)
    write_rows(folder / "leaks.csv", result.leaks, Leak)
    write_rows(folder / "label_errors.csv", result.diagnosis.label_errors.suspects, SuspectedLabel)
    novelty = [] if result.reliability is None else result.reliability.novelty
    write_rows(folder / NOVELTY_FILE, novelty, NoveltyShare)
    write_predictions(folder, tabulate(result.test, test.manifest))


def _write_plots(folder: Path, result: EvaluationResult, bins: int) -> None:
    predictions, probable = result.test, result.test.by_probability()
    write_rows(folder.parent / CONFUSION_FILE, confusion_rows(predictions), ConfusionRow)
    write_rows(folder / "roc.csv", roc_points(predictions), RocPoint)
    write_rows(folder / "precision_recall.csv", precision_recall_points(predictions), PrecisionRecallPoint)
    write_rows(folder / "confidence.csv", confidence_bins(predictions), ConfidenceBin)
    curve = calibration_curve(probable.confidence, probable.correct, bins)
    write_rows(folder / "calibration.csv", curve, CalibrationBin)
    write_robustness(folder / "robustness.csv", result.diagnosis.robustness, list(CORRUPTIONS))


def _log_summary(result: EvaluationResult) -> None:
    accuracy = result.card.intervals["accuracy"]
    gate = "passed" if result.verdict.passed else "failed"
    log.info(
        "%d %s images: accuracy %.2f%% (%.2f%% to %.2f%%); the gate %s",
        result.card.metrics["images"],
        "test" if result.folds == 1 else f"out-of-fold (of {result.folds} folds)",
        *(100 * value for value in (accuracy.value, accuracy.low, accuracy.high)),
        gate,
    )
    for ruling in result.verdict.failed:
        log.warning("%s", ruling)
