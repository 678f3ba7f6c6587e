"""What is pushed and pulled by S3's protocol with real DVC, and what a colleague need not compute."""

import shutil
import sys
from pathlib import Path

import pytest
import yaml

import tiny_repository as tiny
from clones import call, clone_tree
from shared_team import BUCKET, Team, check_told, check_whole, point_to
from visiongate.adapters.dvc import run_dvc
from visiongate.sharing.transfer import TransferError, pull, push


def test_a_fresh_clone_pulls_what_was_pushed(team: Team) -> None:
    clone = team.colleague()
    pull(clone)
    check_whole(team, clone)


def test_what_the_remote_lost_is_pushed_again(team: Team) -> None:
    lost = ("data/0.bin", "model", "metrics.json")  # but not the list of data's files
    keys = [team.key(name) for name in lost]
    for key in keys:
        team.client.delete_object(Bucket=BUCKET, Key=key)
    push(team.author())
    for key in keys:
        assert team.client.head_object(Bucket=BUCKET, Key=key)


def test_nothing_to_push_from_is_told_with_the_file(team: Team) -> None:
    key, author = team.key("model"), team.author()
    kept = team.read("model")
    team.client.delete_object(Bucket=BUCKET, Key=key)
    shutil.rmtree(author / ".dvc/cache")
    try:
        with pytest.raises(TransferError) as raised:
            push(author)
    finally:
        team.client.put_object(Bucket=BUCKET, Key=key, Body=kept)
    check_told(raised, "model is neither in this clone's cache nor in the remote")


def change(folder: Path, text: str) -> Path:
    (folder / "images.txt").write_text(text)
    return folder / "trace"


def test_a_colleagues_finished_run_is_fetched_and_not_computed(team: Team) -> None:
    author, colleague = team.author(), team.colleague()
    trace = change(author, "second")
    call(author, "dvc", "repro", TRACE=str(trace))
    assert trace.read_text().split() == ["prepare", "train"]
    push(author)
    trace = change(colleague, "second")
    told = call(colleague, "dvc", "repro", "--pull", TRACE=str(trace)).stdout
    assert not trace.exists(), told
    assert told.count("is cached - skipping run") == 2
    assert tiny.contents(colleague) == tiny.contents(author) != team.whole
    assert (colleague / "dvc.lock").read_text() == (author / "dvc.lock").read_text()


def test_dvc_push_alone_leaves_the_colleague_to_compute_it(team: Team) -> None:
    author, colleague = team.author(), team.colleague()
    call(author, "dvc", "repro", TRACE=str(change(author, "third")))
    run_dvc(["push", "--run-cache"], author)
    trace = change(colleague, "third")
    call(colleague, "dvc", "repro", "--pull", TRACE=str(trace))
    assert trace.read_text().split() == ["train"], "push_all is no longer needed"


def test_a_changed_stage_alone_runs_in_a_fresh_clone(team: Team) -> None:
    clone = team.colleague()
    (clone / "params.yaml").write_text("width: 2\n")
    call(clone, "dvc", "repro", "--pull", "--allow-missing", TRACE=str(clone / "trace"))
    assert (clone / "trace").read_text().split() == ["train"]
    assert len((clone / "model").read_bytes()) > 2 * len(team.whole["model"]) - 100


def test_an_experiment_is_pushed_and_pulled(team: Team, tmp_path: Path) -> None:
    author, colleague = team.author(), team.colleague()
    call(tmp_path, "git", "init", "-q", "--bare", "hub.git")
    for folder in (author, colleague):
        call(folder, "git", "remote", "add", "hub", str(tmp_path / "hub.git"))
    call(author, "git", "push", "-q", "hub", "HEAD")
    call(author, "dvc", "exp", "run", "--name", "wider", "-S", "width=3")
    run_dvc(["exp", "push", "hub", "wider"], author)
    run_dvc(["exp", "pull", "hub", "wider"], colleague)
    run_dvc(["exp", "apply", "wider"], colleague)
    assert tiny.contents(colleague)["model"] == tiny.contents(author)["model"] != team.whole["model"]
    assert '"width": 3' in (colleague / "metrics.json").read_text()


def test_of_the_line_a_new_threshold_runs_what_reads_it_alone(team: Team, empty: str, tmp_path: Path) -> None:
    author = clone_tree(tmp_path / "author")
    run_dvc(["fetch", "--remote", "store"], author)
    push(tiny.commit(point_to(author, team.proxy.endpoint, empty)))
    clone = tiny.clone(author, tmp_path / "clone")
    pull(clone)
    rules = clone / "conf/gate/default.yaml"
    rules.write_text(rules.read_text().replace("threshold: 0.5, classes", "threshold: 0.6, classes"))
    call(clone, sys.executable, "-m", "visiongate.settings.composition", PYTHONPATH="src")
    told = run_dvc(["repro", "--pull", "--allow-missing", "--dry"], clone)
    stages = yaml.safe_load((clone / "dvc.yaml").read_text())["stages"]
    assert [name for name in stages if f"Running stage '{name}'" in told] == ["evaluate"], (
        told
    )  # and what follows from it
