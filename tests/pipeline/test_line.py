"""The whole line in a temporary clone, on few images: what a new user and an experiment meet."""

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from clones import call, clone_tree

SMOKE = [
    "dataset.limit=600",
    "training.epochs=2",
    "optimize.trials=3",
    "optimize.epochs=2",
    "optimize.startup_trials=2",
    "optimize.warmup_epochs=1",
    "evaluation.latency_runs=5",
    "evaluation.bootstrap_samples=50",
]
SMOKE_OVERRIDES = [word for override in SMOKE for word in ("-S", override)]
STAGES = [
    "ingestion",
    "validation",
    "preparation",
    "transformation",
    "train",
    "evaluate",
    "optimize",
    "register",
]


def runs_of(folder: Path, name: str) -> int:
    """Count the MLflow runs of that name in a workspace's own store."""
    with sqlite3.connect(folder / "mlruns/mlflow.db") as database:
        ((count,),) = database.execute("SELECT count(*) FROM runs WHERE name = ?", (name,))
    return int(count)


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A clone in which the whole line has run once on few images, one process a stage."""
    folder = clone_tree(tmp_path_factory.mktemp("line"))
    call(folder, sys.executable, "-m", "visiongate", "params", *SMOKE, PYTHONPATH="src")
    return folder, call(folder, "dvc", "repro")


def test_every_stage_ran_and_said_what_it_did(line: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, result = line
    for stage in STAGES:
        assert f"Running stage '{stage}'" in result.stdout
    assert "600 images in 10 classes" in result.stdout
    assert "up to date" in call(folder, "dvc", "status").stdout


def test_images_in_are_images_kept_and_quarantined(
    line: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, _ = line
    summary = json.loads((folder / "reports/preparation/summary.json").read_text())
    assert summary["images"] == 600 == summary["kept"] + summary["quarantined"]
    assert json.loads((folder / "data/prepared/dataset.json").read_text())["images"] == summary["kept"]


def test_gate_and_registration_agree(line: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, _ = line
    gate = json.loads((folder / "reports/gate.json").read_text())
    assert gate["passed"] == all(rule["passed"] for rule in gate["rules"])
    registration = json.loads((folder / "reports/registration.json").read_text())
    assert registration["decision"] == ("promoted" if gate["passed"] else "rejected")
    lock = yaml.safe_load((folder / "dvc.lock").read_text())
    outs = {out["path"]: out["md5"] for out in lock["stages"]["train"]["outs"]}
    assert registration["lineage"]["model_md5"] == outs["models/model.onnx"]


def test_training_and_searching_twice_gives_the_same_bytes(
    line: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, _ = line
    before = (folder / "dvc.lock").read_text()
    for stage in ("train", "optimize"):
        call(folder, "dvc", "repro", "--force", "--single-item", stage)
    assert (folder / "dvc.lock").read_text() == before


def test_registering_the_same_model_again_adds_nothing(
    line: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, _ = line
    before = json.loads((folder / "reports/registration.json").read_text())
    call(folder, "dvc", "repro", "--force", "--single-item", "register")
    after = json.loads((folder / "reports/registration.json").read_text())
    assert (after["version"], after["model_sha256"]) == (before["version"], before["model_sha256"])


def test_a_temporary_experiment_runs_its_own_code_and_logs_to_the_main_store(
    line: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, _ = line
    stage = folder / "src/visiongate/training/stage.py"
    original = stage.read_text()
    stage.write_text(original.replace('"hardware": trained.hardware,\n    }', '"edited": 1,\n    }'))
    assert stage.read_text() != original
    try:
        command = ["dvc", "exp", "run", "--temp", "--name", "edited", "-S", "model=improved_cnn"]
        call(folder, *command, *SMOKE_OVERRIDES, "train")
    finally:
        stage.write_text(original)
    assert ",edited," in call(folder, "dvc", "exp", "show", "--csv").stdout
    assert runs_of(folder, "train improved_cnn") == 1
    references = call(folder, "git", "for-each-ref", "--format=%(refname)", "refs/exps").stdout.split()
    (experiment,) = [reference for reference in references if reference.endswith("/edited")]
    assert '"edited": 1' in call(folder, "git", "show", f"{experiment}:reports/training.json").stdout


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("model.lr=abc", "model.lr = 'abc': must be a number greater than 0"),
        ("model.lr=-1", "model.lr = -1: must be a number greater than 0"),
        ("training.epochs=0", "training.epochs = 0: must be a whole number at least 1"),
        ("model.lr=???", "model.lr = '???'"),
        ("+model.nonsense=1", "model.nonsense = 1: unknown key"),
    ],
)
def test_a_bad_setting_ends_an_experiment_in_one_line(
    line: tuple[Path, subprocess.CompletedProcess[str]], override: str, told: str
) -> None:
    folder, _ = line
    params = (folder / "params.yaml").read_text()
    try:
        result = call(folder, "dvc", "exp", "run", *SMOKE_OVERRIDES, "-S", override, "train", check=False)
    finally:
        (folder / "params.yaml").write_text(params)
    assert result.returncode != 0
    said = [text for text in (result.stdout + result.stderr).splitlines() if text.startswith("train: ")]
    assert len(said) == 1, result.stdout + result.stderr
    assert told in said[0]
    assert "Traceback" not in result.stdout + result.stderr


def test_a_fresh_clone_pulls_from_the_committed_store_and_is_up_to_date(tmp_path: Path) -> None:
    folder = clone_tree(tmp_path)
    call(folder, "dvc", "pull")
    assert "up to date" in call(folder, "dvc", "status").stdout
    assert "accuracy" in call(folder, "dvc", "metrics", "show").stdout
    assert "index.html" in call(folder, "dvc", "plots", "show").stdout
    call(folder, "dvc", "exp", "show")
