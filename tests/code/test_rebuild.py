"""``make trace VERIFY=1``: the model of a commit is made again beside, and compared, in a small repository with a real DVC."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import tiny_models
from clones import call
from command_line import run_cli
from visiongate.adapters.mlflow.runs import MODEL_TAG, open_run
from visiongate.adapters.mlflow.store import open_store
from visiongate.records.files import sha256_of
from visiongate.registration import stage as register
from visiongate.registry.rebuild import clone_address
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
LINE = """
stages:
  transformation:
    cmd: python make_data.py
    outs: [data/transformed]
  train:
    cmd: python train.py
    deps: [data/transformed, threshold.txt]
    outs: [models/model.onnx]
"""


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a stage that trains, whose outputs DVC keeps, and whose model is registered from a clean tree."""
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
    files = {"make_data.py": "", "train.py": TRAIN, "dvc.yaml": LINE, "threshold.txt": "127.5"}
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


def test_the_same_model_comes_out_and_nothing_of_the_user_s_is_touched(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(workspace)
    assert verify() == 0, capsys.readouterr()
    told = capsys.readouterr().out
    assert f"git clone {workspace} rebuilt && cd rebuilt && git checkout " in told
    assert f"requirements.lock is the same at that commit: using {sys.executable}" in told
    assert "data/transformed comes from the DVC cache of this machine" in told
    assert "The same: models/model.onnx has md5 " in told
    assert snapshot(workspace) == before


def test_an_older_version_is_made_again_from_its_own_commit(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (workspace / "threshold.txt").write_text("126")
    tiny_models.write_threshold_model(Path("models/model.onnx"), 126)
    call(workspace, "dvc", "commit", "--force", "--quiet")
    commit(workspace)
    register_here()
    for number in ("1", "2"):
        assert verify(f"models:/digits-classifier/{number}") == 0, capsys.readouterr()


def test_an_experiment_is_made_again_with_its_own_settings(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    params = (workspace / "params.yaml").read_text()
    changed = params.replace(
        "  bootstrap_samples: 1000\n  confidence: 0.95\n  seed: 0\n",
        "  bootstrap_samples: 1000\n  confidence: 0.95\n  seed: 3\n",
    )
    assert changed != params
    (workspace / "params.yaml").write_text(
        changed
    )  # as `dvc exp run -S evaluation.seed=3` leaves it: not committed
    tiny_models.write_threshold_model(Path("models/model.onnx"), 130.5)
    register_here()

    assert verify("models:/digits-classifier/2") == 0, capsys.readouterr()
    told = capsys.readouterr().out
    assert "params.yaml is another at that commit: taking the one that the model was registered with" in told
    assert "--artifact-path params.yaml" in told


def test_another_model_is_told_with_what_differs(
    workspace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (workspace / "noise").write_text("...")
    monkeypatch.setenv("NOISE", str(workspace / "noise"))
    assert verify() == 1
    told = capsys.readouterr().out
    assert "Not the same: models/model.onnx has md5 " in told
    assert "what differs between then and now:\n  nothing that is recorded" in told


def test_data_that_are_nowhere_are_told(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call(workspace, "dvc", "config", "cache.dir", str(workspace.parent / "elsewhere"))
    assert verify() == 1
    result = capsys.readouterr()
    assert "Pulling data/transformed from the remote" in result.out
    assert result.err.startswith("trace: `")
    assert "pull --quiet data/transformed` failed: " in result.err


def test_data_come_from_the_remote_when_the_cache_has_them_not(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    remote = workspace.parent / "remote"
    call(workspace, "dvc", "remote", "add", "--local", "--default", "there", str(remote))
    call(workspace, "dvc", "push", "--quiet")
    call(workspace, "dvc", "config", "--local", "cache.dir", str(workspace.parent / "elsewhere"))
    assert verify() == 0, capsys.readouterr()
    assert "Pulling data/transformed from the remote" in capsys.readouterr().out


def test_other_packages_get_an_environment_of_their_own(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (workspace / "Makefile").write_text(f"setup:\n\tln -s {sys.prefix} .venv\n")
    (workspace / "threshold.txt").write_text("126")
    tiny_models.write_threshold_model(Path("models/model.onnx"), 126)
    call(workspace, "dvc", "commit", "--force", "--quiet")
    commit(workspace)
    register_here()
    (workspace / "requirements.lock").write_text("numpy==2.3\n")
    assert verify("models:/digits-classifier/2") == 0, capsys.readouterr()
    told = capsys.readouterr().out
    assert "requirements.lock is another at that commit: making its environment, which takes minutes" in told


@pytest.mark.usefixtures("workspace")
def test_data_other_than_those_of_the_training_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    store = open_store(load_settings().tracking)
    name = load_settings().registry.name
    store.client.set_model_version_tag(name, "1", "visiongate.data_transformed_md5", "abc.dir")
    assert verify() == 0  # this model does not depend on them
    assert "data/transformed has md5 " in capsys.readouterr().out


def test_a_commit_that_is_gone_is_told(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workspace / "more.txt").touch()
    commit(workspace)
    tiny_models.write_threshold_model(Path("models/model.onnx"), 126)
    register_here()
    call(workspace, "git", "reset", "-q", "--hard", "HEAD~1")
    call(workspace, "git", "reflog", "expire", "--expire=now", "--all")
    call(workspace, "git", "gc", "-q", "--prune=now")
    assert verify("models:/digits-classifier/2") == 1
    assert "is not in this repository: `git fetch` may bring it" in capsys.readouterr().err


def test_the_address_tells_no_password(tmp_path: Path) -> None:
    assert clone_address(tmp_path) == "REPOSITORY"
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    assert clone_address(tmp_path) == str(tmp_path)
    for address, told in {
        "https://me:secret@example.org/a/b.git": "https://example.org/a/b.git",
        "git@example.org:a/b.git": "git@example.org:a/b.git",
    }.items():
        subprocess.run(["git", "config", "remote.origin.url", address], cwd=tmp_path, check=True)
        assert clone_address(tmp_path) == told
