"""Runs in clones of a repository with two small stages and real DVC: killed, at the same time, without disk or remote."""

import json
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from clones import call
from tiny_repository import make_repository
from visiongate_dags.clone import (
    LOG,
    SUCCEEDED,
    Clone,
    keep_settings,
    make_clone,
    record_success,
    remove_old_clones,
    run_name,
    run_stages,
)
from visiongate_dags.errors import RunError, TemporaryError
from visiongate_dags.processes import Ended, explain
from visiongate_dags.project import Project
from visiongate_dags.proposals import propose
from visiongate_dags.results import read_hashes
from waiting import wait_until

STAGES = ("prepare", "train")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A repository whose pipeline has run."""
    return Project(make_repository(tmp_path_factory.mktemp("tiny") / "project"), Path(sys.executable))


def cloned(project: Project, folder: Path, name: str = "run") -> Clone:
    clone = Clone(project, folder / name)
    make_clone(clone, None, ())
    return clone


def change(clone: Clone, stage: str, code: str) -> None:
    """Append code to a stage's script."""
    script = clone.folder / f"{stage}.py"
    script.write_text(f"{script.read_text()}\n{code}\n")


def children() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


@pytest.mark.slow
def test_a_run_restores_what_has_run_and_changes_nothing_in_the_project(
    project: Project, tmp_path: Path
) -> None:
    clone = cloned(project, tmp_path)
    assert clone.git("rev-parse", "HEAD") == project.commit()
    run_stages(clone, STAGES)
    assert (clone.folder / "model").read_bytes() == (project.folder / "model").read_bytes()
    assert "Running stage" not in (clone.folder / LOG).read_text()
    assert project.git("status", "--porcelain") == ""
    run_stages(clone, STAGES, forced={"train"})
    assert (clone.folder / LOG).read_text().count("Running stage") == 1


@pytest.mark.slow
def test_a_killed_stage_may_be_tried_again_in_the_same_clone(project: Project, tmp_path: Path) -> None:
    clone, started = cloned(project, tmp_path), tmp_path / "started"
    # Other tests of this process may have left a helper of multiprocessing, which lives as long as it.
    before = children()
    wait = (
        f"if not os.path.exists({str(started)!r}):\n    open({str(started)!r}, 'w').write(str(os.getpid()))\n"
    )
    change(clone, "train", f"{wait}    import time\n    time.sleep(60)")

    def kill() -> None:
        wait_until(lambda: started.exists() and started.read_text())
        os.kill(int(started.read_text()), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(TemporaryError, match="stage train was killed; Airflow tries again"):
        run_stages(clone, STAGES)
    killer.join()
    run_stages(clone, STAGES)
    # The guard of the killed stage may need a moment to end.
    wait_until(lambda: all(each.status() == "zombie" for each in children() - before))


@pytest.mark.slow
def test_two_runs_at_a_time_share_the_cache(project: Project, tmp_path: Path) -> None:
    runs = [cloned(project, tmp_path, name) for name in ("one", "two")]
    for index, clone in enumerate(runs):
        (clone.folder / "params.yaml").write_text(f"width: {index + 2}\n")
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda clone: run_stages(clone, STAGES), runs))
    widths = [json.loads((clone.folder / "metrics.json").read_text())["width"] for clone in runs]
    assert widths == [2, 3]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import sys\nsys.exit('train: the loss is not a number')", "the loss is not a number"),
        # A device that is always full.
        ("with open('/dev/full', 'w') as file:\n    file.write('x')", "No space left on device"),
    ],
)
def test_a_failed_stage_is_not_tried_again_and_its_reason_is_one_line(
    project: Project, tmp_path: Path, code: str, reason: str
) -> None:
    clone = cloned(project, tmp_path)
    change(clone, "train", code)
    with pytest.raises(RunError, match=rf"^stage train failed: .*{reason}") as error:
        run_stages(clone, STAGES)
    assert "\n" not in str(error.value)
    # The outputs of the stages before it are kept for reading.
    assert (clone.folder / "data/0.bin").exists()


@pytest.mark.slow
def test_a_remote_that_is_away_may_be_tried_again(project: Project, tmp_path: Path) -> None:
    clone = cloned(project, tmp_path)
    url, secret = "http://127.0.0.1:9", "x"
    remote = ["s3", "s3://bucket/away"]
    call(clone.folder, "dvc", "remote", "add", "--local", "--default", *remote)
    for name, value in (
        ("endpointurl", url),
        ("access_key_id", secret),
        ("secret_access_key", secret),
        ("connect_timeout", "1"),
    ):
        call(clone.folder, "dvc", "remote", "modify", "--local", "s3", name, value)
    change(clone, "train", "")
    with pytest.raises(TemporaryError, match="the network failed; Airflow tries again"):
        run_stages(clone, STAGES)


def test_the_settings_of_a_run_stay_in_the_project(project: Project, tmp_path: Path) -> None:
    clone = cloned(project, tmp_path)
    keep_settings(clone)
    assert project.git("rev-parse", "refs/airflow-settings/run") == project.commit()


@pytest.mark.slow
def test_a_promoted_model_is_proposed_as_a_branch_with_its_data(project: Project, tmp_path: Path) -> None:
    clone = cloned(project, tmp_path)
    remote = tmp_path / "remote"
    call(clone.folder, "dvc", "remote", "add", "--local", "--default", "shared", str(remote))
    base = project.commit()
    made = {
        "decision": "promoted",
        "name": "digits",
        "version": "2",
        "reason": "better",
        "model_md5": "0" * 32,
    }
    committed = {**made, "model_md5": read_hashes(clone.folder, ["train"])["model"]}
    assert propose(clone, committed, base) == {}
    assert propose(clone, {**made, "decision": "registered"}, base) == {}
    (clone.folder / "params.yaml").write_text("width: 4\n")
    run_stages(clone, STAGES)
    assert propose(clone, made, base) == {"branch": "airflow/run"}
    assert project.git("show", "airflow/run:params.yaml") == "width: 4"
    assert project.git("rev-parse", "airflow/run~1") == base
    assert len([path for path in remote.rglob("*") if path.is_file()]) > 0
    assert project.git("status", "--porcelain") == ""


def test_a_removed_clone_and_a_missing_project_are_named(project: Project, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="the clone of this run is gone; clear the task check_environment"):
        run_stages(Clone(project, tmp_path / "gone"), STAGES)
    with pytest.raises(RunError, match="set the Variable visiongate_project"):
        Project(tmp_path, Path(sys.executable)).check(tmp_path)
    with pytest.raises(RunError, match="run `make setup`"):
        Project(project.folder, tmp_path / "python").check(tmp_path)


def test_old_clones_are_removed_but_the_last_failed_one_is_kept(tmp_path: Path) -> None:
    project = Project(tmp_path, Path(sys.executable))
    for index, succeeded in enumerate([False, False, True, True, True]):
        folder = tmp_path / f"run{index}"
        (folder / SUCCEEDED).parent.mkdir(parents=True)
        if succeeded:
            record_success(Clone(project, folder))
    times = {f"run{index}": float(index) for index in range(5)}
    removed = remove_old_clones(tmp_path, 2, made=lambda path: times[path.name])
    assert removed == ["run2", "run0"]
    with pytest.raises(RunError, match="keep_runs = 0 is invalid: must be at least 1"):
        remove_old_clones(tmp_path, 0)


@pytest.mark.parametrize(
    ("status", "line", "retried"),
    [
        (
            255,
            "ERROR: failed to reproduce 'train': failed to run: python src/run.py train, exited with 1",
            False,
        ),
        (
            255,
            "ERROR: failed to reproduce 'train': failed to run: python src/run.py train, exited with -9",
            True,
        ),
        (
            255,
            "ERROR: failed to reproduce 'train': failed to run: python src/run.py train, exited with 137",
            True,
        ),
        (137, "", True),
        (-15, "", True),
        (193, "", False),
        (1, "ingestion: https://example.org: Connection reset by peer", True),
        (1, "ERROR: Unable to acquire lock. Most likely another DVC process is running", True),
        (1, "train: training.epochs = 0 is invalid", False),
    ],
)
def test_only_what_a_retry_can_help_is_tried_again(status: int, line: str, *, retried: bool) -> None:
    assert isinstance(explain(Ended(status, [line]), "stage train"), TemporaryError if retried else RunError)


def test_the_ids_of_runs_become_names_of_folders_and_branches() -> None:
    name = run_name("manual__2026-11-29T09:00:00.5+00:00")
    assert name.startswith("manual__2026-11-29T09-00-00-5-00-00-")
    assert run_name("a b") != run_name("a-b") == "a-b"
    assert run_name("../..") not in ("..", "../..", "")
