"""``visiongate registry trace --verify`` rebuilds a model, in a small repository with real DVC."""

import os
import shutil
import sys
from pathlib import Path

import pytest
import yaml

import tiny_models
from clones import call, init_dvc
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
MAKEFILE = f"""
setup:
\tln -s {sys.prefix} .venv
\ttouch "$$SET_UP"
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a stage that trains, in which it has run."""
    folder = tmp_path_factory.mktemp("origin")
    call(folder, "git", "init", "-q")
    call(folder, "git", "config", "user.name", "test")
    call(folder, "git", "config", "user.email", "test@example.org")
    init_dvc(folder)
    (folder / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    files = {"make_data.py": "", "train.py": TRAIN, "dvc.yaml": PIPELINE, "threshold.txt": "127.5"}
    files |= {"requirements.lock": "numpy==2.2\n", "Makefile": MAKEFILE}
    files |= {".gitignore": "/mlruns\n/reports\n/data\n/models\n"}
    for name, content in files.items():
        (folder / name).write_text(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_judged_model()
    call(folder, "dvc", "commit", "--force", "--quiet")
    commit(folder)
    return folder


@pytest.fixture
def workspace(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the repository, whose model was registered from a clean work tree."""
    folder = enter_workspace(tmp_path / "workspace", monkeypatch)
    monkeypatch.setenv("DVC_TEST", "from the user's environment")
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    shutil.copytree(repository, folder, dirs_exist_ok=True, symlinks=True)
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
    assert verify("models:/digits-classifier/1") == 0, capsys.readouterr()


def test_the_lock_of_the_training_is_restored(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lock = workspace / "dvc.lock"
    earlier = lock.read_text()
    (workspace / "threshold.txt").write_text("126")
    tiny_models.write_threshold_model(Path("models/model.onnx"), 126)
    call(workspace, "dvc", "commit", "--force", "--quiet")
    ours = lock.read_text()
    # The lock of a run is committed after the registration.
    lock.write_text(earlier)
    commit(workspace)
    lock.write_text(ours)
    register_here()
    assert verify("models:/digits-classifier/2") == 0
    captured = capsys.readouterr()
    assert "--artifact-path dvc.lock --dst-path ." in captured.out
    assert "dvc.lock differs at that commit" in captured.err


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


def test_different_model_and_other_data_than_in_the_training_are_reported(
    workspace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(load_settings().tracking)
    name = load_settings().registry.name
    store.client.set_model_version_tag(name, "1", "visiongate.data_transformed_md5", "abc.dir")
    (workspace / "noise").write_text("...")
    monkeypatch.setenv("NOISE", str(workspace / "noise"))
    assert verify() == 1
    captured = capsys.readouterr()
    # The environment in the workspace's records is made up.
    assert "torch: 2.13.0 in the training" in captured.out
    assert "abc.dir in the training" in captured.err


def test_data_come_from_the_cache_or_the_remote(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # A remote has the layout of the cache.
    (workspace / ".dvc/cache").rename(workspace.parent / "remote")
    local = workspace / ".dvc/config.local"
    local.write_text(
        f"[core]\n    remote = there\n['remote \"there\"']\n    url = {workspace.parent}/remote\n"
    )
    assert verify() == 0, capsys.readouterr()
    local.unlink()
    capsys.readouterr()
    assert verify() == 2
    assert "dvc pull: " in capsys.readouterr().err


def test_other_packages_get_their_own_environment(
    workspace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SET_UP", str(workspace / "was-set-up"))
    (workspace / "requirements.lock").write_text("numpy==2.3\n")
    assert verify() == 0, capsys.readouterr()
    assert (workspace / "was-set-up").exists()


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
