"""Evaluate: judge the exported model on the test split, and hold the result against the gate."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from visiongate import paths
from visiongate.errors import DataError
from visiongate.evaluation.calibration import CalibrationBin, calibration_curve
from visiongate.evaluation.corruptions import tabulate_robustness
from visiongate.evaluation.curves import (
    ConfidenceBin,
    ConfusionRow,
    PrecisionRecallPoint,
    RocPoint,
    confidence_bins,
    confusion_rows,
    precision_recall_points,
    roc_points,
)
from visiongate.evaluation.diagnosis import Diagnosis, diagnose
from visiongate.evaluation.gallery import pick_galleries
from visiongate.evaluation.label_errors import Suspect
from visiongate.evaluation.latency import measure_latency
from visiongate.evaluation.leaks import Leak, find_leaks
from visiongate.evaluation.metrics import ClassResult, report_text
from visiongate.evaluation.operating_point import choose_threshold
from visiongate.evaluation.page import Report, write_report
from visiongate.evaluation.references import judge_references
from visiongate.evaluation.scorecard import Context, Scorecard, score
from visiongate.gate.rules import Measured, apply_rules
from visiongate.images.pixels import PixelSplit, load_split
from visiongate.models.predictions import Predictions, check_contract, predict_split, tabulate
from visiongate.models.predictor import Predictor, open_predictor
from visiongate.records.evaluation import Slice
from visiongate.records.files import atomic_path, write_csv, write_json, write_text
from visiongate.records.history import read_history
from visiongate.records.manifest import read_manifest
from visiongate.records.transform import read_transform
from visiongate.records.validation import read_validation
from visiongate.records.verdict import GateVerdict, write_verdict
from visiongate.settings.evaluation import Evaluation
from visiongate.settings.schema import Settings

PLOTS = paths.EVALUATION / "plots"
MOST_TRAIN_IMAGES = 10_000  # that are predicted to tell the gap: more tell hardly more


@dataclass(frozen=True, slots=True)
class Split:
    """A split's images, and where they came from."""

    pixels: PixelSplit
    manifest: pa.Table


@dataclass(frozen=True, slots=True)
class Judged:
    """All that was found of a model."""

    test: Predictions
    card: Scorecard
    diagnosis: Diagnosis
    leaks: list[Leak]
    latency: dict[str, float]
    verdict: GateVerdict


def run(settings: Settings) -> None:
    """Write metrics, latency and verdict to ``reports/``, and all that explains them to ``reports/evaluation/``."""
    model = open_predictor(paths.MODEL_ONNX)
    check_contract(model, read_transform(paths.TRANSFORMED), str(paths.TRANSFORMED / "transform.json"))
    splits = {name: _read_split(name) for name in ("train", "val", "test")}
    judged = _judge(model, splits, settings)
    _write_details(judged, splits["test"].manifest)
    _write_plots(judged, settings.evaluation.calibration_bins)
    report = _report(judged, splits["test"], settings)
    write_report(report, settings.evaluation.calibration_bins, paths.EVALUATION)
    write_json(paths.METRICS, judged.card.metrics)
    write_json(paths.LATENCY, judged.latency)
    write_verdict(paths.GATE, judged.verdict)
    _tell(judged)


def _judge(model: Predictor, splits: Mapping[str, Split], settings: Settings) -> Judged:
    chosen, test = settings.evaluation, splits["test"]
    predicted = _predict(model, splits, chosen)
    leaks = _find_leaks(splits)
    diagnosis = diagnose(model, predicted["test"], test.pixels, test.manifest, chosen)
    facts = {**diagnosis.facts(), "leaked_images": len(leaks), "failed_expectations": _count_failures()}
    card = score(predicted["test"], _context(splits, predicted, model, facts, chosen), chosen)
    latency = measure_latency(model, test.pixels.images, chosen)
    evidence = Measured(
        {**card.metrics, **latency}, card.intervals, card.class_intervals, predicted["test"].classes
    )
    verdict = apply_rules(settings.gate.rules, evidence)
    return Judged(predicted["test"], card, diagnosis, leaks, latency, verdict)


def _read_split(name: str) -> Split:
    return Split(load_split(paths.TRANSFORMED, name), read_manifest(paths.TRANSFORMED, name))


def _predict(model: Predictor, splits: Mapping[str, Split], settings: Evaluation) -> dict[str, Predictions]:
    """Predict the test split and at most `MOST_TRAIN_IMAGES` of training, by the threshold that validation gives."""
    chosen = {"train": _thin(splits["train"], MOST_TRAIN_IMAGES), "test": splits["test"]}
    if settings.threshold != "argmax":
        chosen["val"] = splits["val"]
    predicted = {name: _predict_split(model, name, split, settings) for name, split in chosen.items()}
    threshold = choose_threshold(predicted.get("val", predicted["test"]), settings)
    return {name: replace(predictions, threshold=threshold) for name, predictions in predicted.items()}


def _predict_split(model: Predictor, name: str, split: Split, settings: Evaluation) -> Predictions:
    try:
        return predict_split(model, split.pixels, split.manifest, settings.batch_size)
    except DataError as error:
        raise DataError(f"{name} split: {error}") from None


def _thin(split: Split, most: int) -> Split:
    step = max(1, math.ceil(len(split.pixels.labels) / most))
    rows = range(0, len(split.pixels.labels), step)
    pixels = PixelSplit(split.pixels.images[::step], split.pixels.labels[::step])
    return Split(pixels, split.manifest.take(pa.array(rows, pa.int64())))


def _find_leaks(splits: Mapping[str, Split]) -> list[Leak]:
    images = {name: split.pixels.images for name, split in splits.items()}
    return find_leaks(images, {name: split.manifest for name, split in splits.items()})


def _context(
    splits: Mapping[str, Split],
    predicted: Mapping[str, Predictions],
    model: Predictor,
    facts: Mapping[str, float],
    settings: Evaluation,
) -> Context:
    return Context(
        groups=splits["test"].manifest.column("group").to_pylist(),
        train=predicted["train"],
        references=judge_references(splits["train"].pixels, splits["test"].pixels, settings.seed),
        temperature=model.temperature,
        facts=facts,
    )


def _report(judged: Judged, test: Split, settings: Settings) -> Report:
    names, suspects = test.manifest.column("path").to_pylist(), judged.diagnosis.label_errors.suspects
    most = settings.evaluation.gallery_images
    return Report(
        model=settings.model.name,
        dataset=settings.dataset.name,
        test=judged.test,
        card=judged.card,
        verdict=judged.verdict,
        diagnosis=judged.diagnosis,
        galleries=pick_galleries(judged.test, test.pixels.images, names, suspects, most),
        history=read_history(paths.HISTORY),
        confidence=settings.evaluation.confidence,
    )


def _count_failures() -> int:
    """Return how many critical expectations about the data failed."""
    return len(read_validation(paths.VALIDATION / "result.json").failed("critical"))


def _write_details(judged: Judged, manifest: pa.Table) -> None:
    """Write intervals, and results by class, by slice and by image."""
    intervals = {name: asdict(interval) for name, interval in judged.card.intervals.items()}
    write_json(paths.EVALUATION / "intervals.json", intervals)
    write_text(paths.EVALUATION / "classification_report.txt", report_text(judged.test))
    _write_rows(paths.EVALUATION / "per_class.csv", judged.card.classes, ClassResult)
    _write_rows(paths.EVALUATION / "slices.csv", judged.diagnosis.slices, Slice, name="slice")
    _write_rows(paths.EVALUATION / "leaks.csv", judged.leaks, Leak)
    _write_suspects(judged.diagnosis.label_errors.suspects, manifest)
    table = tabulate(judged.test, manifest)
    with atomic_path(paths.EVALUATION / "predictions.parquet") as temporary:
        # Names repeat, and pay for a dictionary; hashes and probabilities do not.
        pq.write_table(table, temporary, compression="zstd", use_dictionary=["label", "predicted"])
    _write_mistakes(table)


def _write_mistakes(table: pa.Table) -> None:
    """Write the mistakes once more as text, the most confident first: what a person looks at, and small."""
    mistakes = table.filter(pc.invert(table["correct"])).sort_by(
        [("confidence", "descending"), ("path", "ascending")]
    )
    columns = ["path", "label", "predicted", "confidence"]
    rows = mistakes.select(columns).to_pylist()
    write_csv(
        paths.EVALUATION / "mistakes.csv",
        ({**row, "confidence": f"{row['confidence']:.4f}"} for row in rows),
        columns,
    )


def _write_suspects(suspects: Sequence[Suspect], manifest: pa.Table) -> None:
    """Write the images whose label is in doubt, by their path in the place of their number."""
    where = manifest.column("path").to_pylist()
    columns = ["path", *(field.name for field in fields(Suspect) if field.name != "index")]
    rows = ({"path": where[suspect.index], **asdict(suspect)} for suspect in suspects)
    write_csv(
        paths.EVALUATION / "label_errors.csv",
        ({column: row[column] for column in columns} for row in rows),
        columns,
    )


def _write_plots(judged: Judged, bins: int) -> None:
    predictions = judged.test
    _write_rows(PLOTS / "confusion.csv", confusion_rows(predictions), ConfusionRow)
    _write_rows(PLOTS / "roc.csv", roc_points(predictions), RocPoint)
    _write_rows(PLOTS / "precision_recall.csv", precision_recall_points(predictions), PrecisionRecallPoint)
    _write_rows(PLOTS / "confidence.csv", confidence_bins(predictions), ConfidenceBin)
    columns, rows = tabulate_robustness(judged.diagnosis.robustness)
    write_csv(PLOTS / "robustness.csv", rows, columns)
    likeliest = predictions.by_probability()
    curve = calibration_curve(likeliest.confidence, likeliest.correct, bins)
    _write_rows(PLOTS / "calibration.csv", curve, CalibrationBin)


def _write_rows(path: Path, rows: Sequence[Any], kind: type, name: str = "class") -> None:
    """Write dataclasses, a field a column; ``name`` is called what it names."""
    columns = {name if field.name == "name" else field.name: field.name for field in fields(kind)}
    cells = ({column: getattr(row, attribute) for column, attribute in columns.items()} for row in rows)
    write_csv(path, cells, list(columns))


def _tell(judged: Judged) -> None:
    accuracy, images = judged.card.intervals["accuracy"], judged.card.metrics["images"]
    print(
        f"{images} test images: accuracy {accuracy.value:.2%} ({accuracy.low:.2%} to {accuracy.high:.2%}); "
        f"the gate says {'yes' if judged.verdict.passed else 'no'}"
    )
    for ruling in judged.verdict.failed:
        print(f"  {ruling}")
