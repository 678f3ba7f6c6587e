"""Evaluate: judge the exported model on the test split, and hold the result against the gate."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from visiongate import paths
from visiongate.config import Evaluation, Settings
from visiongate.data.pixels import load_split, read_manifest, read_transform
from visiongate.evaluation.calibration import CalibrationBin, calibration_curve
from visiongate.evaluation.curves import ConfusionRow, RocPoint, confusion_rows, roc_points
from visiongate.evaluation.gate import Verdict, judge
from visiongate.evaluation.intervals import Interval, find_intervals
from visiongate.evaluation.latency import measure_latency
from visiongate.evaluation.metrics import ClassResult, compute_metrics, judge_classes, report_text
from visiongate.evaluation.predictions import Predictions, check_contract, predict_split, tabulate
from visiongate.evaluation.served_model import open_model
from visiongate.files import atomic_path, write_csv, write_json, write_text

PLOTS = paths.EVALUATION / "plots"


def run(settings: Settings) -> None:
    """Write metrics, latency and verdict to ``reports/``, and all that explains them to ``reports/evaluation/``."""
    model = open_model(paths.MODEL_ONNX)
    check_contract(model, read_transform(paths.TRANSFORMED), str(paths.TRANSFORMED / "transform.json"))
    test, manifest = load_split(paths.TRANSFORMED, "test"), read_manifest(paths.TRANSFORMED, "test")
    predictions = predict_split(model, test, manifest, settings.evaluation.batch_size)
    metrics = compute_metrics(predictions, settings.evaluation.calibration_bins)
    latency = measure_latency(model, test.images, settings.evaluation)
    verdict = judge(settings.gate.rules, {**metrics, **latency})
    intervals = _write_details(predictions, manifest, settings.evaluation)
    _write_plots(predictions, settings.evaluation.calibration_bins)
    write_json(paths.METRICS, metrics)
    write_json(paths.LATENCY, latency)
    write_json(paths.GATE, asdict(verdict))
    _tell(metrics, intervals["accuracy"], verdict)


def _write_details(predictions: Predictions, manifest: pa.Table, settings: Evaluation) -> dict[str, Interval]:
    """Write intervals, results by class and by image; return the intervals."""
    intervals = find_intervals(predictions, manifest.column("group").to_pylist(), settings)
    write_json(
        paths.EVALUATION / "intervals.json", {name: asdict(interval) for name, interval in intervals.items()}
    )
    _write_rows(paths.EVALUATION / "per_class.csv", judge_classes(predictions), ClassResult)
    write_text(paths.EVALUATION / "classification_report.txt", report_text(predictions))
    table = tabulate(predictions, manifest)
    with atomic_path(paths.EVALUATION / "predictions.parquet") as temporary:
        # Names repeat, and pay for a dictionary; hashes and probabilities do not.
        pq.write_table(table, temporary, compression="zstd", use_dictionary=["label", "predicted"])
    _write_mistakes(table)
    return intervals


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


def _write_plots(predictions: Predictions, bins: int) -> None:
    _write_rows(PLOTS / "confusion.csv", confusion_rows(predictions), ConfusionRow)
    _write_rows(PLOTS / "roc.csv", roc_points(predictions), RocPoint)
    curve = calibration_curve(predictions.confidence, predictions.correct, bins)
    _write_rows(PLOTS / "calibration.csv", curve, CalibrationBin)


def _write_rows(path: Path, rows: Sequence[Any], kind: type) -> None:
    """Write dataclasses, a field a column; ``name`` is a class of images here, and is called so."""
    columns = {"class" if field.name == "name" else field.name: field.name for field in fields(kind)}
    cells = ({column: getattr(row, name) for column, name in columns.items()} for row in rows)
    write_csv(path, cells, list(columns))


def _tell(metrics: Mapping[str, float], accuracy: Interval, verdict: Verdict) -> None:
    print(
        f"{metrics['images']} test images: accuracy {accuracy.value:.2%} ({accuracy.low:.2%} to {accuracy.high:.2%}); "
        f"the gate says {'yes' if verdict.passed else 'no'}"
    )
    for ruling in verdict.failed:
        print(f"  {ruling}")
