"""The evaluate stage, on a tiny model and its images."""

import csv
import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tiny_models import SIDE, add_reliability, brightness_images, transform, write_threshold_model
from visiongate.errors import DataError, SettingsError
from visiongate.evaluation import result
from visiongate.evaluation import stage as evaluate
from visiongate.records.drift_reference import read_reference
from visiongate.records.files import read_json, sha256_of, write_csv, write_json
from visiongate.records.metrics import TEST_METRICS
from visiongate.records.validation import (
    ExpectationResult,
    Severity,
    ValidationReport,
    write_validation,
)
from visiongate.settings.loading import load_settings, replace_settings
from visiongate.settings.schema import Settings

ROOT = Path(__file__).resolve().parents[2]
IMAGES = 40
REPORTS = Path("reports")
DETAILS = REPORTS / "evaluation"
HISTORY = [
    {
        "epoch": epoch,
        "lr": 0.1,
        "train_loss": 1 / epoch,
        "train_accuracy": 0.9,
        "val_loss": 1.2 / epoch,
        "val_accuracy": 0.8,
    }
    for epoch in (1, 2)
]
TEXT, NUMBER, SIDE_TYPE = pa.string(), pa.int64(), pa.int32()
MANIFEST = pa.schema(
    [
        *(
            ("split", TEXT),
            ("row", NUMBER),
            ("label", NUMBER),
            ("path", TEXT),
            ("sha256", TEXT),
            ("group", TEXT),
        ),
        *(("width", SIDE_TYPE), ("height", SIDE_TYPE)),
        *(("format", TEXT), ("mode", TEXT), ("bytes", NUMBER)),
    ]
)
RELIABILITY = {"error_rate": 0.1, "min_probability": 0.4, "novelty_threshold": 240.0, "images": 40}
RULES = {
    "accuracy": {"metric": "accuracy", "comparison": ">=", "threshold": 0.5},
    "fast": {"metric": "latency_p50_ms", "comparison": "<", "threshold": 1e6},
}


def settings(rules: dict[str, Any] | None = None, **evaluation: Any) -> Settings:  # noqa: ANN401
    values = {
        "latency_runs": 3,
        "bootstrap_samples": 50,
        "batch_size": 16,
        "corruption_images": 0,
        **evaluation,
    }
    return replace_settings(
        load_settings(ROOT / "params.yaml"),
        {"gate.rules": rules or RULES, **{f"evaluation.{key}": value for key, value in values.items()}},
        "test",
    )


def split_images() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return splits with different gray levels, so that no image is in two."""
    every, labels = brightness_images(256)
    test = brightness_images(IMAGES)
    spare = ~np.isin(every[:, 0, 0, 0], test[0][:, 0, 0, 0])
    every, labels = every[spare], labels[spare]
    return {"train": (every[::4], labels[::4]), "val": (every[2::4], labels[2::4]), "test": test}


def write_data(classes: tuple[str, ...] = ("dark", "bright"), groups: int | None = None) -> None:
    """Write the outputs of the previous stages."""
    data = Path("data/transformed")
    data.mkdir(parents=True)
    write_json(data / "transform.json", transform(classes))
    rows = []
    for split, (images, labels) in split_images().items():
        np.save(data / f"{split}.npy", images)
        np.save(data / f"{split}_labels.npy", labels)
        rows += [
            {
                "split": split,
                "row": row,
                "label": int(label),
                "path": f"{split}/{row}.png",
                "sha256": hashlib.sha256(images[row]).hexdigest(),
                "group": f"{split} {row % groups}" if groups else None,
                "width": 8 + 4 * (row % 3),
                "height": 8,
                "format": "PNG" if row % 4 else "JPEG",
                "mode": "L",
                "bytes": 100 + row,
            }
            for row, label in enumerate(labels)
        ]
    pq.write_table(pa.Table.from_pylist(rows, MANIFEST), data / "manifest.parquet")
    write_failures("warning", "warning")
    write_csv(REPORTS / "training/history.csv", HISTORY, list(HISTORY[0]))


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_failures(*severities: Severity) -> None:
    failed = [
        ExpectationResult(f"e{n}", kind, success=False, required="", actual="")
        for n, kind in enumerate(severities)
    ]
    write_validation(REPORTS / "validation/result.json", ValidationReport(IMAGES, tuple(failed)))


def write_workspace() -> None:
    """Write a model that predicts the darkest bright images as dark: 5 mistakes of 40."""
    write_data()
    write_threshold_model(Path("models/model.onnx"), threshold=160)
    add_reliability(Path("models/model.onnx"), RELIABILITY)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Enter a workspace before the evaluation, of which the slow figures are left out."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(evaluate, "write_report", lambda *_: None)
    write_workspace()
    return tmp_path


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Evaluate once for all tests that only read the results."""
    folder = tmp_path_factory.mktemp("evaluated")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_workspace()
        evaluate.run(settings(corruption_images=100))
    return folder


@pytest.fixture
def evaluated(complete: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(complete)
    return complete


def test_metrics_latency_and_verdict_are_written(evaluated: Path) -> None:
    metrics, gate = read_json(REPORTS / "metrics.json"), read_json(REPORTS / "gate.json")

    assert metrics["images"] == IMAGES
    assert metrics["accuracy"] == 35 / 40
    assert metrics["recall_min"] == 15 / 20
    assert not [name for name in metrics if "latency" in name or "throughput" in name]
    latency = read_json(REPORTS / "latency.json")
    assert all(value > 0 for value in latency.values())
    assert gate["passed"] is True
    accuracy, fast = gate["rules"]
    assert (accuracy["required"], accuracy["value"], accuracy["margin"]) == (">= 0.5", 35 / 40, 35 / 40 - 0.5)
    assert accuracy["low"] < 35 / 40 < accuracy["high"]
    assert (fast["value"], fast["low"], fast["passed"]) == (latency["latency_p50_ms"], None, True)
    assert not [path for path in evaluated.rglob("*") if path.name.startswith(".")]


@pytest.mark.usefixtures("evaluated")
def test_details_by_class_and_image_are_written() -> None:
    dark, bright = rows_of(DETAILS / "per_class.csv")
    assert (dark["class"], dark["images"], dark["errors"], dark["confused_with"]) == ("dark", "20", "0", "")
    assert (bright["class"], bright["recall"], bright["confused_with"]) == ("bright", "0.75", "dark")
    table = pq.read_table(DETAILS / "predictions.parquet")
    assert table["path"].to_pylist() == [f"test/{row}.png" for row in range(IMAGES)]
    assert table["correct"].to_pylist().count(False) == 5
    assert table.schema.metadata is None
    mistakes = rows_of(DETAILS / "mistakes.csv")
    assert {(row["label"], row["predicted"]) for row in mistakes} == {("bright", "dark")}
    confidence = [float(row["confidence"]) for row in mistakes]
    assert len(confidence) == 5
    assert confidence == sorted(confidence, reverse=True)
    intervals = read_json(DETAILS / "intervals.json")
    assert intervals["accuracy"]["low"] < 35 / 40 < intervals["accuracy"]["high"]
    assert "bright" in (DETAILS / "classification_report.txt").read_text()


@pytest.mark.usefixtures("evaluated")
def test_the_reference_is_that_of_the_model() -> None:
    reference = read_reference(DETAILS / "reference.npz", sha256_of(Path("models/model.onnx")))
    assert (reference.images, len(reference), reference.protocol) == (IMAGES, IMAGES, "holdout")
    assert (reference.classes, reference.embedding) == (("dark", "bright"), None)
    assert reference.out_of_distribution is not None
    assert reference.out_of_distribution.any()
    assert reference.confusion.tolist() == [[20, 0], [5, 15]]
    assert (reference.formats, reference.modes) == (("JPEG", "PNG"), ("L",))
    # One gray level for each image.
    assert np.array_equal(reference.brightness, split_images()["test"][0][:, 0, 0, 0] / np.float32(255))


@pytest.mark.usefixtures("evaluated")
def test_plots_have_their_columns() -> None:
    confusion = rows_of(DETAILS / "plots/confusion.csv")
    assert len(confusion) == IMAGES
    assert confusion.count({"actual": "bright", "predicted": "dark"}) == 5
    roc = rows_of(DETAILS / "plots/roc.csv")
    assert {row["class"] for row in roc} == {"dark", "bright"}
    assert list(roc[0]) == ["class", "fpr", "tpr"]
    assert list(rows_of(DETAILS / "plots/precision_recall.csv")[0]) == ["class", "recall", "precision"]
    confidence = rows_of(DETAILS / "plots/confidence.csv")
    assert sum(int(row["right"]) + int(row["wrong"]) for row in confidence) == IMAGES
    robustness = rows_of(DETAILS / "plots/robustness.csv")
    assert [row["severity"] for row in robustness] == list("012345")
    assert {row["noise"] for row in robustness[:1]} == {str(35 / 40)}
    calibration = rows_of(DETAILS / "plots/calibration.csv")
    assert sum(int(row["images"]) for row in calibration) == IMAGES
    assert list(calibration[0]) == ["confidence", "accuracy", "images"]


def test_outputs_are_reproducible_except_measured_times(evaluated: Path) -> None:
    def contents() -> dict[Path, bytes]:
        timed = (REPORTS / "latency.json", REPORTS / "gate.json")
        files = [path for path in REPORTS.rglob("*") if path.is_file() and path not in timed]
        return {path: path.read_bytes() for path in files}

    before = contents()
    evaluate.run(settings(corruption_images=100))

    assert len(before) == 28
    assert contents() == before
    assert not [path for path, content in before.items() if str(evaluated).encode() in content]


@pytest.mark.usefixtures("workspace")
def test_failed_gate_is_logged_and_not_an_error(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="visiongate")
    evaluate.run(settings({"strict": {"metric": "accuracy", "comparison": ">", "threshold": 0.9}}))

    assert read_json(REPORTS / "gate.json")["passed"] is False
    (warning,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "strict" in warning.message
    assert "87.50%" in caplog.text


@pytest.mark.usefixtures("evaluated")
def test_settings_know_exactly_the_measured_metrics() -> None:
    measured = {*read_json(REPORTS / "metrics.json"), *read_json(REPORTS / "latency.json")}

    # top3 needs more than five classes, and the tiny model has no temperature.
    assert measured == set(TEST_METRICS) - {"top3", "ece_uncalibrated"}


def test_rule_on_unknown_metric_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"gate\.rules\.x\.metric"):
        settings({"x": {"metric": "f2", "comparison": ">", "threshold": 0.9}})


def other_classes() -> None:
    write_threshold_model(Path("models/model.onnx"), classes=("dark", "light"))


def other_size() -> None:
    write_threshold_model(Path("models/model.onnx"), side=SIDE + 1)


@pytest.mark.usefixtures("workspace")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            other_classes,
            "models/model.onnx.* classes",
        ),
        (
            other_size,
            "models/model.onnx.* input shape",
        ),
    ],
)
def test_model_for_other_data_is_refused(change: Callable[[], None], message: str) -> None:
    change()

    with pytest.raises(DataError, match=message):
        evaluate.run(settings())


def relabel_first(split: str, label: int) -> None:
    data = Path("data/transformed")
    labels = np.load(data / f"{split}_labels.npy")
    labels[0] = label
    np.save(data / f"{split}_labels.npy", labels)
    rows = pq.read_table(data / "manifest.parquet").to_pylist()
    next(row for row in rows if (row["split"], row["row"]) == (split, 0))["label"] = label
    pq.write_table(pa.Table.from_pylist(rows, MANIFEST), data / "manifest.parquet")


@pytest.mark.filterwarnings("error")
def test_class_without_test_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    classes = ("dark", "bright", "unseen")
    write_data(classes=classes)
    relabel_first("train", label=2)
    write_threshold_model(Path("models/model.onnx"), classes=classes)

    evaluate.run(settings({"auc": {"metric": "roc_auc", "comparison": ">", "threshold": 0.0}}))

    assert "roc_auc" not in read_json(REPORTS / "metrics.json")
    assert read_json(REPORTS / "gate.json")["rules"][0]["value"] is None
    assert rows_of(DETAILS / "per_class.csv")[2]["recall"] == ""


@pytest.mark.usefixtures("workspace")
def test_test_images_in_training_split_are_leaks() -> None:
    data = Path("data/transformed")
    images = np.load(data / "train.npy")
    images[:3] = np.load(data / "test.npy")[:3]
    np.save(data / "train.npy", images)

    evaluate.run(settings({"no_leaks": {"metric": "leaked_images", "comparison": "<=", "threshold": 0}}))

    assert read_json(REPORTS / "metrics.json")["leaked_images"] == 3
    assert [row["path"] for row in rows_of(DETAILS / "leaks.csv")] == [f"test/{row}.png" for row in range(3)]
    assert read_json(REPORTS / "gate.json")["passed"] is False


@pytest.mark.usefixtures("workspace")
def test_threshold_is_chosen_on_validation_and_used_on_test() -> None:
    evaluate.run(settings(threshold="youden"))

    metrics = read_json(REPORTS / "metrics.json")
    # The model's own threshold is too high.
    assert metrics["threshold"] < 0.5
    # Argmax would give 0.75.
    assert metrics["sensitivity"] >= 0.95
    assert metrics["specificity"] >= 0.95
    correct = pq.read_table(DETAILS / "predictions.parquet")["correct"].to_pylist()
    assert sum(correct) / IMAGES == metrics["accuracy"]


@pytest.mark.usefixtures("workspace")
def test_failed_expectations_are_counted() -> None:
    write_failures("critical", "critical", "warning")

    evaluate.run(settings({"data": {"metric": "failed_expectations", "comparison": "<=", "threshold": 0}}))

    assert read_json(REPORTS / "gate.json")["rules"][0]["value"] == 2
    assert read_json(REPORTS / "gate.json")["passed"] is False


@pytest.mark.usefixtures("workspace")
def test_large_training_split_is_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(result, "MAX_TRAIN_IMAGES", 10)

    evaluate.run(settings())

    metrics = read_json(REPORTS / "metrics.json")
    images = len(split_images()["train"][0][:: math.ceil(len(split_images()["train"][0]) / 10)])
    assert images <= 10
    assert metrics["train_accuracy"] * images == pytest.approx(round(metrics["train_accuracy"] * images))
    assert metrics["accuracy_gap"] == pytest.approx(metrics["train_accuracy"] - metrics["accuracy"])


@pytest.mark.usefixtures("evaluated")
def test_slices_and_suspected_labels_are_written() -> None:
    slices = rows_of(DETAILS / "slices.csv")
    assert {row["dimension"] for row in slices} == {"class", "size", "brightness"}
    worst = min((row for row in slices if int(row["images"]) >= 20), key=lambda row: float(row["accuracy"]))
    assert float(worst["accuracy"]) == read_json(REPORTS / "metrics.json")["worst_slice_accuracy"]
    suspects = rows_of(DETAILS / "label_errors.csv")
    assert {row["path"] for row in suspects} <= {row["path"] for row in rows_of(DETAILS / "mistakes.csv")}


@pytest.mark.usefixtures("workspace")
def test_robustness_is_optional() -> None:
    evaluate.run(settings())

    assert "corrupted_accuracy" not in read_json(REPORTS / "metrics.json")
    assert rows_of(DETAILS / "plots/robustness.csv") == []
