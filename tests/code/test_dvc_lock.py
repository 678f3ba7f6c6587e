"""`records.dvc_lock`: parsing, and the stages that are out of date."""

from pathlib import Path

import pytest

from visiongate.errors import DataError
from visiongate.records.dvc_lock import DvcLock, LockedStage, parse_lock, read_lock

LOCK = DvcLock(
    {
        # The order in which the stages first ran.
        "judge": LockedStage(deps={"model": "2"}, outs={"metrics.json": "3"}),
        "prepare": LockedStage(outs={"data": "1"}),
        "train": LockedStage(deps={"data": "1", "train.py": "5"}, outs={"model": "2"}),
    }
)
METRICS = [Path("metrics.json")]


@pytest.mark.parametrize(
    "content",
    [
        b"stages: [1]",
        b"stages: {a: 1}",
        b"stages: {a: {outs: [1]}}",
        b"stages: {a: {deps: 1}}",
        b"stages: {a: {params: [1]}}",
        b"[1]",
        b"{",
        b"a: &x {b: 1}\nc: *x",
    ],
)
def test_an_invalid_lock_is_refused(content: bytes) -> None:
    with pytest.raises(DataError):
        parse_lock(content)


def test_an_empty_lock_has_no_stages(tmp_path: Path) -> None:
    assert parse_lock(b"").stages == {}
    assert read_lock(tmp_path / "dvc.lock").stages == {}


def test_a_lock_has_commands_deps_outs_and_params() -> None:
    lock = parse_lock(
        b"schema: '2.0'\nstages: {a: {cmd: run, deps: [{path: d, md5: x}], outs: [{path: o, md5: y}, {path: p}], "
        b"params: {params.yaml: {model.lr: 0.1}}}}"
    )
    assert lock.stages["a"] == LockedStage(
        "run", {"d": "x"}, {"o": "y", "p": None}, {"params.yaml": {"model.lr": 0.1}}
    )
    assert lock.outs == {"o": "y", "p": None}


def test_an_invalid_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "dvc.lock").write_text("stages: 1")
    with pytest.raises(DataError, match=r"dvc\.lock: "):
        read_lock(tmp_path / "dvc.lock")


def test_a_digest_depends_on_inputs_alone() -> None:
    stage = LockedStage("run", {"d": "1"}, {"o": "1"})
    assert stage.digest() == LockedStage("run", {"d": "1"}, {"o": "2"}).digest()
    assert stage.digest() != LockedStage("run", {"d": "2"}, {"o": "1"}).digest()
    assert DvcLock({"a": stage}).digests() == {"a": stage.digest()}


def test_changed_code_makes_the_following_stages_stale() -> None:
    status = {"train": [{"changed deps": {"train.py": "modified", "params.yaml": {"model.lr": "modified"}}}]}
    assert LOCK.find_stale(status) == {
        "train": "train.py, params.yaml (model.lr)",
        "judge": "outputs of train",
    }


def test_outputs_that_were_never_pulled_are_not_stale() -> None:
    status = {
        "prepare": [{"changed outs": {"data": "not in cache"}}],
        "train": [{"changed deps": {"data": "deleted"}}, {"changed outs": {"model": "deleted"}}],
    }
    assert LOCK.find_stale(status, METRICS) == {}


def test_an_edited_output_in_git_a_changed_command_and_a_new_stage_are_stale() -> None:
    status = {
        "judge": [{"changed outs": {"metrics.json": "modified"}}, "changed command"],
        "new": [{"changed deps": {"other": "new"}}],
    }
    assert LOCK.find_stale(status, METRICS) == {"judge": "metrics.json, changed command", "new": "other"}


def test_a_stage_that_read_an_older_output_is_stale() -> None:
    lock = DvcLock({**LOCK.stages, "prepare": LockedStage(outs={"data": "9"})})
    assert lock.find_stale({}) == {"train": "data", "judge": "outputs of train"}
    assert lock.stale_outputs() == {"model", "metrics.json"}


def test_a_circle_is_refused() -> None:
    lock = DvcLock(
        {
            "a": LockedStage(deps={"y": None}, outs={"x": None}),
            "b": LockedStage(deps={"x": None}, outs={"y": None}),
        }
    )
    with pytest.raises(DataError, match="circle"):
        lock.find_stale({})
