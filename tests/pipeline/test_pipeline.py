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
from doc_commands import COMMANDS, write_files
from drawn_images import write_images
from visiongate.images.table import read_table

pytestmark = pytest.mark.slow
# An experiment of the docs on the reader's images.
EXPERIMENT = "dvc exp run -S dataset=flowers -S experiment=smoke"
NAME = "sweep-1a2b3c4d"
SETTINGS = ["dataset=flowers", "experiment=smoke"]
# What makes it quick.
QUICK = [
    "transformation.size=16",
    "training.augmentation.shift=2",
    "training.epochs=1",
    "training.precision=fp32",
    "optimize.confirm_seeds=5",
    "optimize.min_images=0",
    "evaluation.bootstrap_samples=50",
    "evaluation.latency_runs=5",
    "evaluation.corruption_images=5",
    "evaluation.folds=3",
]
OVERRIDES = [word for override in (*SETTINGS, *QUICK) for word in ("-S", override)]
IMAGES = {"daisy": 60, "rose": 60, "tulip": 60}


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
    """A clone in which an experiment has run the whole pipeline once, on few images."""
    images = tmp_path_factory.mktemp("images") / "flowers"
    write_images(images, IMAGES)
    folder = clone_tree(tmp_path_factory.mktemp("pipeline"))
    call(folder, "git", "branch", "--move", "main")
    write_files(folder, images)
    result = call(folder, "dvc", "exp", "run", "--name", NAME, *OVERRIDES)
    return PipelineRun(folder, result.stdout + result.stderr)


def test_every_stage_runs_and_prints_its_result(pipeline: PipelineRun) -> None:
    assert EXPERIMENT in COMMANDS
    folder = pipeline.folder
    for stage in run.STAGES:
        assert f"Running stage '{stage}'" in pipeline.output
    assert f"flowers: {sum(IMAGES.values())} images; ignored files: none" in pipeline.output
    assert "up to date" in call(folder, "dvc", "status").stdout


def test_every_image_is_kept_or_quarantined(
    pipeline: PipelineRun,
) -> None:
    folder = pipeline.folder
    summary = json.loads((folder / "reports/preparation/summary.json").read_text())
    assert summary["images"] == sum(IMAGES.values()) == summary["kept"] + summary["quarantined"]
    assert json.loads((folder / "data/prepared/dataset.json").read_text())["images"] == summary["kept"]


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
        assert [row[f"probability_{name}"] for name in IMAGES] == expected[row["path"]]


def test_the_experiment_is_listed_and_becomes_a_recipe(pipeline: PipelineRun) -> None:
    listed, _ = (
        call(pipeline.folder, sys.executable, "-m", *command.split(), PYTHONPATH="src")
        for command in ("visiongate experiments", "visiongate adopt best --name better")
    )
    assert NAME in listed.stdout
    assert (pipeline.folder / "conf/experiment/better.yaml").exists()


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
        call(folder, *command, *OVERRIDES, "train")
    finally:
        module.write_text(original)
    assert ",edited," in call(folder, "dvc", "exp", "show", "--csv").stdout
    assert runs_of(folder, "train improved_cnn") == 1
    references = call(folder, "git", "for-each-ref", "--format=%(refname)", "refs/exps").stdout.split()
    (experiment,) = [reference for reference in references if reference.endswith("/edited")]
    assert '"edited": 1' in call(folder, "git", "show", f"{experiment}:reports/training.json").stdout


def test_an_invalid_setting_ends_an_experiment_in_one_line_with_a_remedy(pipeline: PipelineRun) -> None:
    folder = pipeline.folder
    params = (folder / "params.yaml").read_text()
    try:
        result = call(folder, "dvc", "exp", "run", *OVERRIDES, "-S", "model.lr=abc", "train", check=False)
    finally:
        (folder / "params.yaml").write_text(params)
    assert result.returncode != 0
    problem, remedy = (
        text for text in (result.stdout + result.stderr).splitlines() if text.startswith("train: ")
    )
    assert "model.lr = 'abc' is invalid" in problem
    assert "`visiongate params && dvc repro train` restores" in remedy
    assert "Traceback" not in result.stdout + result.stderr
