"""Cross-validation: every image is judged by a model that has not seen it, and the final model is trained on all."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from folded_images import FOLD_IMAGES, FOLDS, write_folds
from visiongate import paths
from visiongate.adapters.mlflow.store import open_store
from visiongate.evaluation import stage as evaluate
from visiongate.images.folds import load_folds
from visiongate.models.predictor import open_predictor
from visiongate.records.drift_reference import REFERENCE_FILE, read_reference
from visiongate.records.evaluation import read_intervals, read_metrics
from visiongate.records.files import sha256_of
from visiongate.records.history import EpochMetrics, average_histories, best_epoch
from visiongate.records.interval import wilson_interval
from visiongate.records.predictions import PREDICTIONS_FILE
from visiongate.records.transform import read_transform, write_transform
from visiongate.records.validation import ValidationReport, write_validation
from visiongate.settings.loading import load_settings, parse_settings, replace_settings
from visiongate.settings.schema import Settings
from visiongate.training import cross_validation
from visiongate.training import stage as train
from visiongate.training.loop import FitResult
from workspaces import ROOT, enter_workspace

BASELINE = {"kind": "baseline", "name": "logistic_regression", "options": {}}
ALL = FOLDS * FOLD_IMAGES


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    enter_workspace(tmp_path / "workspace", monkeypatch)
    write_folds(paths.TRANSFORMED)


def settings(**changes: object) -> Settings:
    values = {
        "training.device": "cpu",
        "training.precision": "fp32",
        "evaluation.bootstrap_samples": 50,
        "evaluation.latency_runs": 2,
        "evaluation.corruption_images": 12,
        "gate.rules": {"accuracy": {"metric": "accuracy", "comparison": ">=", "threshold": 0.6}},
    }
    return replace_settings(load_settings(ROOT / "params.yaml"), values | changes, "params.yaml")


def baseline() -> Settings:
    tree = settings().model_dump()
    space = {"smoothing": tree["optimize"]["space"]["label_smoothing"]}
    optimize = tree["optimize"] | {"space": space, "epochs": 1}
    return parse_settings(tree | {"model": BASELINE, "optimize": optimize}, "params.yaml")


def epoch(number: int, accuracy: float, auc: float | None = None) -> EpochMetrics:
    return EpochMetrics(number, 0.1, 1.0, 0.5, 0.5, accuracy, val_roc_auc=auc)


def test_the_images_of_a_model_are_those_of_other_folds() -> None:
    data = load_folds(paths.TRANSFORMED)

    assert list(data) == [0, 1, 2]
    for fold in data:
        rows = [set(data.rows(fold, split)) for split in ("train", "val", "test")]
        assert set.union(*rows) == set(range(ALL))
        assert sum(map(len, rows)) == ALL
    tested = np.concatenate([data.rows(fold, "test") for fold in data])
    validated = np.concatenate([data.rows(fold, "val") for fold in data])
    assert sorted(tested) == sorted(validated) == list(range(ALL))


def test_histories_are_averaged_and_a_stopped_training_counts_with_its_best_epoch() -> None:
    first = [epoch(1, 0.5, 0.6), epoch(2, 0.9), epoch(3, 0.7)]
    second = [epoch(1, 0.7, 0.8), epoch(2, 0.6)]

    history = average_histories([first, second], "val_accuracy")

    assert [each.epoch for each in history] == [1, 2, 3]
    assert [each.val_accuracy for each in history] == pytest.approx([0.6, 0.75, 0.7])
    assert [each.val_roc_auc for each in history] == [pytest.approx(0.7), None, None]
    assert best_epoch(history, "val_accuracy").epoch == 2


def test_an_interrupted_training_of_folds_is_resumed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    chosen, fits = settings(**{"training.epochs": 2}), cross_validation.fit_tracked
    checkpoints = paths.CHECKPOINT.parent

    def interrupt(*arguments: Any) -> FitResult:  # noqa: ANN401 - those of `fit_tracked`
        if len(list(checkpoints.glob("checkpoint-fold-*"))) == FOLDS - 1:
            raise KeyboardInterrupt
        return fits(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(cross_validation, "fit_tracked", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train.run(chosen)
    with caplog.at_level("INFO"):
        train.run(chosen)

    assert [line.split(" of ")[0] for line in caplog.messages if "Resuming" in line] == [
        "Resuming after epoch 2 from the checkpoint"
    ] * (FOLDS - 1)
    assert "mean of 3 folds: validation accuracy" in capsys.readouterr().out
    assert len({sha256_of(path) for path in (*paths.FOLDS.iterdir(), paths.MODEL_ONNX)}) == FOLDS + 1
    assert not list(checkpoints.glob("checkpoint*"))
    store = open_store(chosen.tracking)
    last, _ = store.client.search_runs([store.experiment_id])
    for name in ("val_loss", "fold_0/val_loss", "fold_2/val_loss"):
        assert len(store.client.get_metric_history(last.info.run_id, name)) == 2


def test_holdout_removes_the_models_of_old_folds() -> None:
    train.run(baseline())
    folded = read_transform(paths.TRANSFORMED)
    write_transform(paths.TRANSFORMED, replace(folded, protocol="holdout", folds=None))

    train.run(baseline())

    assert paths.FOLDS.is_dir()
    assert not list(paths.FOLDS.iterdir())


def test_each_image_is_predicted_by_the_model_that_has_not_seen_it() -> None:
    train.run(baseline())
    write_validation(paths.VALIDATION / "result.json", ValidationReport(ALL, ()))

    evaluate.run(baseline())

    data = load_folds(paths.TRANSFORMED)
    expected = {
        data.manifest.column("sha256")[int(row)].as_py(): probabilities
        for fold in data
        for row, probabilities in zip(
            data.rows(fold, "test"),
            open_predictor(paths.fold_model(fold)).predict(data.split(fold, "test").images),
            strict=True,
        )
    }
    found = pq.read_table(paths.EVALUATION / PREDICTIONS_FILE).to_pydict()
    assert len(found["sha256"]) == len(set(found["sha256"])) == ALL
    for sha256, probabilities in zip(found["sha256"], found["probabilities"], strict=True):
        assert probabilities == pytest.approx(expected[sha256], abs=1e-6)
    reference = read_reference(paths.EVALUATION / REFERENCE_FILE, sha256_of(paths.MODEL_ONNX))
    assert (reference.protocol, len(reference), reference.embedding) == ("cross_validation", ALL, None)
    metrics = read_metrics(paths.METRICS)
    assert (metrics["images"], metrics["leaked_images"]) == (ALL, 0)
    assert reference.accuracy == pytest.approx(metrics["accuracy"])
    # The models share images, so that the interval is wider than that of as many independent images.
    assert read_intervals(paths.EVALUATION)["accuracy"] == wilson_interval(
        metrics["accuracy"], ALL * 2 / 3, 0.95
    )


def test_an_image_in_two_folds_is_a_leak() -> None:
    train.run(baseline())
    write_validation(paths.VALIDATION / "result.json", ValidationReport(ALL, ()))
    images = np.load(paths.TRANSFORMED / "val.npy")
    images[0] = np.load(paths.TRANSFORMED / "test.npy")[0]
    np.save(paths.TRANSFORMED / "val.npy", images)

    evaluate.run(baseline())

    assert read_metrics(paths.METRICS)["leaked_images"] == 2
