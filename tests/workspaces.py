"""Folders like a repository in which the pipeline has run."""

import hashlib
import json
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tiny_models
from visiongate.adapters.mlflow.store import open_store
from visiongate.images.pixels import load_split
from visiongate.models.predictions import Predictions, tabulate
from visiongate.models.predictor import open_predictor
from visiongate.records.manifest import read_manifest
from visiongate.records.predictions import write_predictions
from visiongate.settings.loading import load_settings
from visiongate.settings.schema import Settings
from visiongate.settings.tracking import Tracking

ROOT = Path(__file__).parents[1]
TRACKING = Tracking(uri="sqlite:///mlruns/mlflow.db", experiment="tried")


def enter_workspace(path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Enter an empty workspace with an MLflow store, whose creation takes a second once per process."""
    (path / "mlruns").mkdir(parents=True)
    (path / "mlruns/mlflow.db").write_bytes(_empty_database())
    return _enter(path, monkeypatch)


def enter_committed(path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Enter a workspace with an empty commit, in no other repository; return the committed settings."""
    enter_workspace(path / "workspace", monkeypatch)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(path))
    commit_workspace()
    return tracked_settings()


def enter_copy(origin: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Enter a copy of a workspace, whose MLflow store has the paths of the copy."""
    shutil.copytree(origin, path)
    with closing(sqlite3.connect(path / "mlruns/mlflow.db")) as database, database:
        tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            for _, column, kind, *_ in database.execute(f"PRAGMA table_info({table})").fetchall():
                if kind.startswith(("VARCHAR", "TEXT")):
                    moved = f"UPDATE {table} SET {column} = replace({column}, ?, ?)"  # noqa: S608 - MLflow's names
                    database.execute(moved, (str(origin), str(path)))
    return _enter(path, monkeypatch)


def _enter(path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("MLFLOW_TRACKING_URI", "DVC_ROOT", "DVC_EXP_BASELINE_REV", "DVC_EXP_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(path)
    return path


def commit_workspace() -> str:
    """Make the current folder a git repository with an empty commit; return its hash. Untracked files do not make it dirty."""
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run(["git", *identity, "commit", "-q", "--allow-empty", "-m", "first"], check=True)
    return subprocess.run(
        ["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()


def tracked_settings() -> Settings:
    """The committed settings."""
    return load_settings(ROOT / "params.yaml")


def write_judged_model(
    threshold: float = 127.5,
    *,
    passed: bool = True,
    accuracy: float = 0.9,
    groups: Sequence[str | None] | None = None,
) -> None:
    """Write the files that `register` reads into the current folder."""
    images, labels = tiny_models.brightness_images(200)
    if not Path("params.yaml").exists():
        shutil.copy(ROOT / "params.yaml", "params.yaml")
    for folder in ("data/transformed", "models", "reports/training", "reports/evaluation"):
        Path(folder).mkdir(parents=True, exist_ok=True)
    others = images[[0, -1]]
    # No image is in two splits.
    others[:, 0, 0] = 128
    splits = {
        "train": (others, labels[[0, -1]]),
        "val": (others + 1, labels[[0, -1]]),
        "test": (images, labels),
    }
    write_arrays(Path("data/transformed"), splits, tiny_models.transform(), groups)
    tiny_models.write_threshold_model(Path("models/model.onnx"), threshold)
    write_test_predictions()
    description = {
        "network": "threshold",
        "options": {},
        "pretrained": None,
        "parameters": 17,
        "temperature": 1.0,
    }
    description |= {"transform": tiny_models.transform()}
    rule = {"name": "accuracy", "metric": "accuracy", "required": ">= 0.8", "low": None, "high": None}
    rule |= {"value": accuracy, "margin": accuracy - 0.8, "passed": passed, "note": ""}
    _write_json("models/model.json", description)
    _write_json("reports/metrics.json", {"accuracy": accuracy, "images": 200})
    _write_json("reports/gate.json", {"passed": passed, "rules": [rule]})
    _write_json(
        "reports/evaluation/intervals.json", {"accuracy": {"value": accuracy, "low": 0.8, "high": 1.0}}
    )
    Path("reports/evaluation/slices.csv").write_text(
        "dimension,slice,images,accuracy,low,high,gap,p_value\nclass,dark,100,0.85,0.77,0.91,-0.1,0.04\n"
    )
    _write_json("reports/training/environment.json", {"python": "3.11.0", "packages": {"torch": "2.13.0"}})
    Path("reports/training/history.csv").write_text(
        "epoch,lr,train_loss,train_accuracy,val_loss,val_accuracy\n1,0.1,0.6,0.7,0.5,0.8\n2,,0.3,0.8,0.25,0.9\n"
    )


def write_test_predictions(threshold: float | None = None) -> None:
    """Write the predictions of ``models/model.onnx`` for the test images, as `evaluate` does."""
    model, split = open_predictor(Path("models/model.onnx")), load_split(Path("data/transformed"), "test")
    manifest = read_manifest(Path("data/transformed"), "test")
    probabilities = model.predict(split.images).astype(np.float64)
    predictions = Predictions(probabilities, split.labels, model.contract.classes, threshold)
    write_predictions(Path("reports/evaluation"), tabulate(predictions, manifest))


def write_pixels(folder: Path) -> None:
    """Write pixel arrays of 8×8 gray images in two classes, which differ by the brighter half."""
    generator, splits = np.random.default_rng(0), {}
    for split, count in {"train": 160, "val": 60, "test": 60}.items():
        labels = generator.integers(0, 2, count)
        images = generator.integers(0, 120, (count, 8, 8, 1), dtype=np.uint8)
        images[labels == 0, :4] += 60
        images[labels == 1, 4:] += 60
        splits[split] = images, labels
    write_arrays(folder, splits, tiny_models.transform(("above", "below"), 8))


def write_arrays(
    folder: Path,
    splits: Mapping[str, tuple[np.ndarray, np.ndarray]],
    transform: Mapping[str, object],
    groups: Sequence[str | None] | None = None,
) -> None:
    """Write the outputs of the transformation stage: images and labels by split, and the groups of the test split."""
    folder.mkdir(parents=True, exist_ok=True)
    manifests = []
    for split, (images, labels) in splits.items():
        np.save(folder / f"{split}.npy", images)
        np.save(folder / f"{split}_labels.npy", labels)
        known = groups if split == "test" else None
        names = [hashlib.sha256(image.tobytes()).hexdigest() for image in images]
        columns = {
            "split": pa.array([split] * len(labels)),
            "row": pa.array(range(len(labels))),
            "label": pa.array(labels),
            "path": names,
            "sha256": names,
            "group": pa.array(known or [None] * len(labels), pa.string()),
            "fold": pa.nulls(len(labels), pa.int32()),
            "width": pa.array([images.shape[2]] * len(labels), pa.int32()),
            "height": pa.array([images.shape[1]] * len(labels), pa.int32()),
            "format": ["PNG"] * len(labels),
            "mode": ["L" if images.shape[3] == 1 else "RGB"] * len(labels),
            "bytes": [images[0].nbytes] * len(labels),
        }
        manifests.append(pa.table(columns))
    pq.write_table(pa.concat_tables(manifests), folder / "manifest.parquet")
    _write_json(f"{folder}/transform.json", transform)


def _write_json(path: str, value: object) -> None:
    Path(path).write_text(json.dumps(value))


@cache
def _empty_database() -> bytes:
    folder = Path(tempfile.mkdtemp())
    try:
        open_store(Tracking(uri=f"sqlite:///{folder}/mlflow.db", experiment="none"))
        return (folder / "mlflow.db").read_bytes()
    finally:
        shutil.rmtree(folder)
