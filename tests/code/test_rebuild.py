"""``visiongate registry trace --verify`` rebuilds a model, in a small repository with real DVC."""

import os
import sys
from pathlib import Path

import pytest
import yaml

import tiny_models
from clones import call
from command_line import run_cli
from visiongate.adapters.mlflow.runs import MODEL_TAG, open_run
from visiongate.adapters.mlflow.store import open_store
from visiongate.records.files import sha256_of
from visiongate.registration import stage as register
from visiongate.settings.loading import load_settings
from workspaces import ROOT, enter_workspace, write_judged_model

TRAIN = f"""
import os, pathlib, sys, yaml
sys.path.insert(0, {str(ROOT / "tests")!r})
import tiny_models
assert "/visiongate-rebuild-" in os.environ["MLFLOW_TRACKING_URI"]
assert "DVC_TEST" not in os.environ
assert pathlib.Path("data/transformed/test.npy").exists()
noise = pathlib.Path(os.environ.get("NOISE", "nowhere"))
threshold = float(pathlib.Path("threshold.txt").read_text()) + (len(noise.read_text()) if noise.exists() else 0)
threshold += yaml.safe_load(pathlib.Path("params.yaml").read_text())["evaluation"]["seed"]
tiny_models.write_threshold_model(pathlib.Path("models/model.onnx"), threshold)
"""
PIPELINE = """
stages:
  transformation:
    cmd: python make_data.py
    outs: [data/transformed]
  train:
    cmd: python train.py
    deps: [data/transformed, threshold.txt]
    outs: [models/model.onnx]
"""

pytestmark = pytest.mark.slow


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a stage that trains, and a model that was registered from a clean work tree."""
    folder = enter_workspace(tmp_path / "workspace", monkeypatch)
    monkeypatch.setenv("DVC_TEST", "from the user's environment")
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    call(folder, "git", "init", "-q")
    call(folder, "git", "config", "user.name", "test")
    call(folder, "git", "config", "user.email", "test@example.org")
    call(folder, "dvc", "init", "--quiet")
    call(folder, "dvc", "config", "core.analytics", "false")
    (folder / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    (folder / "requirements.lock").write_text("numpy==2.2\n")
    write_judged_model()
    files = {"make_data.py": "", "train.py": TRAIN, "dvc.yaml": PIPELINE, "threshold.txt": "127.5"}
    for name, content in files.items():
        (folder / name).write_text(content)
    (folder / ".gitignore").write_text("/mlruns\n/reports\n/data\n/models\n")
    call(folder, "dvc", "commit", "--force", "--quiet")
    commit(folder)
    register_here()
    return folder


def commit(folder: Path) -> None:
    call(folder, "git", "add", "-A")
    call(folder, "git", "commit", "-qm", "state")


def register_here() -> None:
    with open_run(
        load_settings().tracking, "train tiny", {}, {MODEL_TAG: sha256_of(Path("models/model.onnx"))}
    ):
        pass
    register.run(load_settings())


def verify(*arguments: str) -> int:
    return run_cli("registry", "trace", *arguments, "--verify")


def snapshot(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): sha256_of(path)
        for path in folder.rglob("*")
        if path.is_file() and ".git/" not in str(path) and ".dvc/tmp" not in str(path)
    }


def test_model_is_identical_and_nothing_of_the_user_is_changed(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(workspace)
    assert verify() == 0, capsys.readouterr()
    output = capsys.readouterr().out
    assert f"git clone {workspace} rebuilt && cd rebuilt && git checkout " in output
    assert snapshot(workspace) == before


def test_older_version_is_rebuilt_from_its_own_commit(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (workspace / "threshold.txt").write_text("126")
    tiny_models.write_threshold_model(Path("models/model.onnx"), 126)
    call(workspace, "dvc", "commit", "--force", "--quiet")
    commit(workspace)
    register_here()
    for number in ("1", "2"):
        assert verify(f"models:/digits-classifier/{number}") == 0, capsys.readouterr()


def test_experiment_is_rebuilt_with_its_own_settings(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = yaml.safe_load((workspace / "params.yaml").read_text())
    content["evaluation"]["seed"] += 3
    # `dvc exp run -S` does not commit the settings either.
    (workspace / "params.yaml").write_text(yaml.safe_dump(content))
    tiny_models.write_threshold_model(Path("models/model.onnx"), 130.5)
    register_here()
    assert verify("models:/digits-classifier/2") == 0, capsys.readouterr()


def test_different_model_exits_with_1(
    workspace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (workspace / "noise").write_text("...")
    monkeypatch.setenv("NOISE", str(workspace / "noise"))
    assert verify() == 1
    # The environment in the workspace's records is made up.
    assert "torch: 2.13.0 in the training" in capsys.readouterr().out


def test_data_come_from_the_cache_or_the_remote(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    remote = workspace.parent / "remote"
    call(workspace, "dvc", "remote", "add", "--local", "--default", "there", str(remote))
    call(workspace, "dvc", "push", "--quiet")
    call(workspace, "dvc", "config", "--local", "cache.dir", str(workspace.parent / "elsewhere"))
    assert verify() == 0, capsys.readouterr()
    call(workspace, "dvc", "remote", "remove", "--local", "there")
    capsys.readouterr()
    assert verify() == 2
    assert "dvc pull: " in capsys.readouterr().err


def test_other_packages_get_their_own_environment(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (workspace / "Makefile").write_text(
        f"setup:\n\tln -s {sys.prefix} .venv\n\ttouch {workspace}/was-set-up\n"
    )
    (workspace / "threshold.txt").write_text("126")
    tiny_models.write_threshold_model(Path("models/model.onnx"), 126)
    call(workspace, "dvc", "commit", "--force", "--quiet")
    commit(workspace)
    register_here()
    (workspace / "requirements.lock").write_text("numpy==2.3\n")
    assert verify("models:/digits-classifier/2") == 0, capsys.readouterr()
    assert (workspace / "was-set-up").exists()


@pytest.mark.usefixtures("workspace")
def test_other_data_than_in_the_training_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    store = open_store(load_settings().tracking)
    name = load_settings().registry.name
    store.client.set_model_version_tag(name, "1", "visiongate.data_transformed_md5", "abc.dir")
    # This model does not depend on the data.
    assert verify() == 0
    assert "abc.dir in the training" in capsys.readouterr().err


def test_missing_commit_is_an_error(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workspace / "more.txt").touch()
    commit(workspace)
    sha = call(workspace, "git", "rev-parse", "HEAD").stdout.strip()
    tiny_models.write_threshold_model(Path("models/model.onnx"), 126)
    register_here()
    call(workspace, "git", "reset", "-q", "--hard", "HEAD~1")
    call(workspace, "git", "reflog", "expire", "--expire=now", "--all")
    call(workspace, "git", "gc", "-q", "--prune=now")
    assert verify("models:/digits-classifier/2") == 2
    assert sha in capsys.readouterr().err
