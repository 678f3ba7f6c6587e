"""Lineage: the commit of git, the hashes of ``dvc.lock``, and their differences from the work tree."""

import hashlib
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from visiongate.adapters.git import Commit, Repository
from visiongate.registration.lineage import Lineage, read_lineage

STAGES = ("transformation", "train")
MODEL = Path("models/model.onnx")
DATA = (Path("data/transformed"),)
CONTENT = b"a model"
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()


def git(*arguments: str) -> None:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    subprocess.run(["git", *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    git("init", "-q")
    for name in ("code.py", "dvc.lock", "reports/metrics.json"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text("first")
    git("add", ".")
    git("commit", "-qm", "first")
    return tmp_path


def commit_here() -> Commit:
    return Repository(Path.cwd()).checked_out([Path("dvc.lock"), Path("reports")])


@pytest.mark.usefixtures("repository")
def test_outputs_of_the_pipeline_do_not_make_a_commit_dirty() -> None:
    Path("dvc.lock").write_text("changed")
    Path("reports/metrics.json").write_text("changed")
    Path("untracked").touch()
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()
    assert commit_here() == Commit(head, dirty=False)
    assert commit_here().tags() == {"mlflow.source.git.commit": head, "visiongate.git_dirty": "false"}


@pytest.mark.parametrize("stage", [False, True])
@pytest.mark.usefixtures("repository")
def test_changed_code_makes_it_dirty(stage: bool) -> None:  # noqa: FBT001
    Path("code.py").write_text("changed")
    if stage:
        git("add", "code.py")
    assert commit_here().dirty is True


def test_without_commit_repository_or_git_it_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert commit_here() == Commit("unknown", None)
    assert commit_here().tags()["visiongate.git_dirty"] == "unknown"
    git("init", "-q")
    assert commit_here() == Commit("unknown", dirty=False)
    monkeypatch.setenv("PATH", "")
    assert commit_here() == Commit("unknown", None)


def locked() -> dict[str, Any]:
    """Return the stages of a lock file without differences."""
    return {
        "transformation": {
            "deps": [{"path": "src/code.py", "md5": "c0"}],
            "params": {"params.yaml": {"transformation": {"size": 8}}},
            "outs": [{"path": "data/transformed", "md5": "d1.dir"}],
        },
        "train": {
            "deps": [{"path": "data/transformed", "md5": "d1.dir"}],
            "params": {"params.yaml": {"model": {"lr": 0.1}, "training.epochs": 2}},
            "outs": [{"path": MODEL.as_posix(), "md5": MD5}],
        },
        "optimize": {"params": {"params.yaml": {"optimize": {"trials": 20}}}},
    }


@pytest.fixture
def lineage_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: ANN401
    monkeypatch.chdir(tmp_path)
    MODEL.parent.mkdir()
    MODEL.write_bytes(CONTENT)

    def read(stages: dict[str, Any]) -> Lineage:
        Path("dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))
        return read_lineage(Path("dvc.lock"), STAGES, DATA, MODEL)

    return read


def test_hashes_are_read_from_the_lock(lineage_of: Any) -> None:  # noqa: ANN401
    lineage = lineage_of(locked())
    assert lineage.differences == ()
    assert lineage.data_md5 == {"data/transformed": "d1.dir"}
    assert lineage.params == {"transformation": {"size": 8}, "model": {"lr": 0.1}, "training.epochs": 2}
    assert lineage.tags() == {
        "visiongate.data_transformed_md5": "d1.dir",
        "visiongate.model_md5": MD5,
        "visiongate.params_sha256": lineage.params_sha256,
        "visiongate.dvc_lock": "agrees",
    }


def test_hash_of_params_covers_the_given_stages(lineage_of: Any) -> None:  # noqa: ANN401
    first = lineage_of(locked()).params_sha256
    other = locked()
    other["optimize"]["params"]["params.yaml"]["optimize"]["trials"] = 1
    assert lineage_of(other).params_sha256 == first
    other["train"]["params"]["params.yaml"]["model"]["lr"] = 0.2
    assert lineage_of(other).params_sha256 != first


def test_model_that_differs_from_the_lock_is_reported(lineage_of: Any) -> None:  # noqa: ANN401
    MODEL.write_bytes(b"another model")
    lineage = lineage_of(locked())
    assert lineage.model_md5 != MD5
    (difference,) = lineage.differences
    assert MD5 in difference
    assert lineage.model_md5 in difference
    assert lineage.tags()["visiongate.dvc_lock"] == lineage.differences[0]


def test_data_that_changed_since_the_training_are_reported(lineage_of: Any) -> None:  # noqa: ANN401
    stages = locked()
    stages["transformation"]["outs"][0]["md5"] = "d2.dir"
    (difference,) = lineage_of(stages).differences
    assert difference.startswith("data/transformed: train")


def test_missing_stage_is_reported(lineage_of: Any) -> None:  # noqa: ANN401
    stages = locked()
    del stages["transformation"]
    lineage = lineage_of(stages)
    assert lineage.differences == ("transformation: not in dvc.lock",)
    assert lineage.tags()["visiongate.data_transformed_md5"] == "unknown"


@pytest.mark.parametrize("content", [None, "", "schema: '2.0'\nstages: {}\n"])
@pytest.mark.usefixtures("lineage_of")
def test_empty_lock_is_reported(content: str | None) -> None:
    if content is not None:
        Path("dvc.lock").write_text(content)
    lineage = read_lineage(Path("dvc.lock"), STAGES, DATA, MODEL)
    assert lineage.differences == ("dvc.lock: nothing recorded",)
    assert (lineage.params, lineage.params_sha256) == ({}, None)
    assert lineage.tags()["visiongate.params_sha256"] == "unknown"
