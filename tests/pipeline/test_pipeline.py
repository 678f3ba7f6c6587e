"""The whole pipeline in a temporary clone, on few images."""

import json
import sqlite3
import sys
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
import pytest
import yaml

import run
from clones import call, clone_tree
from visiongate.images.table import read_table

SMOKE = [
    "dataset.limit=600",
    "training.epochs=2",
    "optimize.trials=3",
    "optimize.epochs=2",
    "optimize.min_images=0",
    "optimize.startup_trials=2",
    "optimize.warmup_epochs=1",
    "evaluation.latency_runs=5",
    "evaluation.bootstrap_samples=50",
]
SMOKE_OVERRIDES = [word for override in SMOKE for word in ("-S", override)]


class PipelineRun(NamedTuple):
    """A clone, and what its pipeline printed."""

    folder: Path
    output: str


def runs_of(folder: Path, name: str) -> int:
    """Count the MLflow runs of that name in a workspace's own store."""
    with sqlite3.connect(folder / "mlruns/mlflow.db") as database:
        ((count,),) = database.execute("SELECT count(*) FROM runs WHERE name = ?", (name,))
    return int(count)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> PipelineRun:
    """A clone in which the whole pipeline has run once on few images."""
    folder = clone_tree(tmp_path_factory.mktemp("pipeline"))
    call(folder, sys.executable, "-m", "visiongate", "params", *SMOKE, PYTHONPATH="src")
    result = call(folder, "dvc", "repro")
    return PipelineRun(folder, result.stdout + result.stderr)


@pytest.mark.slow
def test_every_stage_runs_and_prints_its_result(pipeline: PipelineRun) -> None:
    folder = pipeline.folder
    for stage in run.STAGES:
        assert f"Running stage '{stage}'" in pipeline.output
    assert "600 images; ignored files: none" in pipeline.output
    assert "up to date" in call(folder, "dvc", "status").stdout


@pytest.mark.slow
def test_every_image_is_kept_or_quarantined(
    pipeline: PipelineRun,
) -> None:
    folder = pipeline.folder
    summary = json.loads((folder / "reports/preparation/summary.json").read_text())
    assert summary["images"] == 600 == summary["kept"] + summary["quarantined"]
    assert json.loads((folder / "data/prepared/dataset.json").read_text())["images"] == summary["kept"]


@pytest.mark.slow
def test_gate_and_registration_agree(pipeline: PipelineRun) -> None:
    folder = pipeline.folder
    gate = json.loads((folder / "reports/gate.json").read_text())
    assert gate["passed"] == all(rule["passed"] for rule in gate["rules"])
    registration = json.loads((folder / "reports/registration.json").read_text())
    # The changed parameters are not committed.
    assert registration["decision"] == ("registered" if gate["passed"] else "rejected")
    lock = yaml.safe_load((folder / "dvc.lock").read_text())
    outs = {out["path"]: out["md5"] for out in lock["stages"]["train"]["outs"]}
    assert registration["lineage"]["model_md5"] == outs["models/model.onnx"]


@pytest.mark.slow
def test_predict_gives_the_probabilities_of_the_evaluation(pipeline: PipelineRun) -> None:
    """On the original files of the first fold, with its model."""
    folder = pipeline.folder
    manifest = folder / "data/transformed/manifest.parquet"
    paths = set(pq.read_table(manifest, filters=[("fold", "=", 0)])["path"].to_pylist())
    for row in read_table(folder / "data/prepared", ["path", "image"]).to_pylist():
        if row["path"] in paths:
            path = folder / "originals" / row["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(row["image"])
    command = "predict originals --model models/folds/0.onnx --output answers.parquet"
    call(folder, sys.executable, "-m", "visiongate", *command.split(), PYTHONPATH="src")
    answers = pq.read_table(folder / "answers.parquet").to_pylist()
    recorded = pq.read_table(folder / "reports/evaluation/predictions.parquet").to_pylist()
    expected = {f"originals/{row['path']}": row["probabilities"] for row in recorded}
    assert len(answers) == len(paths) > 0
    for row in answers:
        assert [row[f"probability_{digit}"] for digit in range(10)] == expected[row["path"]]


@pytest.mark.slow
def test_training_searching_and_registering_twice_gives_the_same_results(pipeline: PipelineRun) -> None:
    folder = pipeline.folder
    before = yaml.safe_load((folder / "dvc.lock").read_text())["stages"]
    registration = json.loads((folder / "reports/registration.json").read_text())
    call(folder, "dvc", "repro", "--force", "--single-item", "train", "optimize", "register")
    after = yaml.safe_load((folder / "dvc.lock").read_text())["stages"]
    again = json.loads((folder / "reports/registration.json").read_text())
    for stage in ("train", "optimize"):
        assert after[stage] == before[stage]
    assert (again["version"], again["model_sha256"]) == (
        registration["version"],
        registration["model_sha256"],
    )


@pytest.mark.slow
def test_a_temporary_experiment_runs_its_own_code_and_logs_to_the_main_store(
    pipeline: PipelineRun,
) -> None:
    folder = pipeline.folder
    module = folder / "src/visiongate/records/model.py"
    original = module.read_text()
    module.write_text(
        original.replace('"hardware": summary.hardware', '"edited": 1, "hardware": summary.hardware')
    )
    assert module.read_text() != original
    try:
        command = ["dvc", "exp", "run", "--temp", "--name", "edited", "-S", "model=improved_cnn"]
        call(folder, *command, *SMOKE_OVERRIDES, "train")
    finally:
        module.write_text(original)
    assert ",edited," in call(folder, "dvc", "exp", "show", "--csv").stdout
    assert runs_of(folder, "train improved_cnn") == 1
    references = call(folder, "git", "for-each-ref", "--format=%(refname)", "refs/exps").stdout.split()
    (experiment,) = [reference for reference in references if reference.endswith("/edited")]
    assert '"edited": 1' in call(folder, "git", "show", f"{experiment}:reports/training.json").stdout


@pytest.mark.slow
def test_an_invalid_setting_ends_an_experiment_in_one_line_with_a_remedy(pipeline: PipelineRun) -> None:
    folder = pipeline.folder
    params = (folder / "params.yaml").read_text()
    try:
        result = call(
            folder, "dvc", "exp", "run", *SMOKE_OVERRIDES, "-S", "model.lr=abc", "train", check=False
        )
    finally:
        (folder / "params.yaml").write_text(params)
    assert result.returncode != 0
    problem, remedy = (
        text for text in (result.stdout + result.stderr).splitlines() if text.startswith("train: ")
    )
    assert "model.lr = 'abc' is invalid" in problem
    assert "`visiongate params && dvc repro train` restores" in remedy
    assert "Traceback" not in result.stdout + result.stderr
