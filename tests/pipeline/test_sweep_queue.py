"""Sweeps with DVC's queue and real workers, on a pipeline that takes no time."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from clones import ROOT, call
from page_structure import check_page
from quick_pipeline import end_workers, make_repository, run_visiongate

pytestmark = pytest.mark.slow


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Path]:
    yield make_repository(tmp_path)
    end_workers(tmp_path)


def experiments_by_rate(root: Path) -> dict[float, str]:
    """Return the names of the finished experiments by learning rate."""
    output = call(root, "git", "for-each-ref", "--format=%(refname)", "refs/exps").stdout.split()
    refs = [ref for ref in output if "/celery/" not in ref and "/sweep-" in ref]
    texts = {ref: call(root, "git", "show", f"{ref}:params.yaml").stdout for ref in refs}
    return {float(yaml.safe_load(text)["model"]["lr"]): ref.rpartition("/")[2] for ref, text in texts.items()}


def test_sweep_runs_retries_and_is_adopted(repository: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    (repository / "src/stage.py").open("a").write("# not committed\n")
    grid = "model.lr=0.02,0.03,9"

    status, output, errors = run_visiongate(repository, "sweep", grid, check=False, TRACE=str(trace))
    assert status == 1
    assert re.search(r"Uncommitted changes.*src/stage\.py", errors)
    assert re.search(r"sweep-\w{8} FAILED: model\.lr=9", errors)
    assert "evaluate: the rate is too large" in errors
    assert re.search(
        r"^sweep-\w{8} +1\.0000 +0\.9000 to 1\.0000 +\+0\.2000 +passed +model\.lr=0\.03$",
        output,
        flags=re.MULTILINE,
    )
    assert "Better than the baseline: accuracy 1.0000 against 0.8000 on 40 test images" in output
    assert "p = 0.0078" in output
    assert len(experiments_by_rate(repository)) == 2
    assert (repository / "src/stage.py").read_text().endswith("# not committed\n")
    assert sorted(trace.read_text().split()[::2]) == ["0.02", "0.03", "9.0"]

    _, output, _ = run_visiongate(repository, "sweep", grid, "--dry-run")
    assert (output.count("has run"), output.count("would run  sweep-")) == (2, 1)
    # Idle workers would not see MENDED.
    end_workers(repository)
    status, _, errors = run_visiongate(
        repository, "sweep", grid, "--jobs=2", check=False, TRACE=str(trace), MENDED="1"
    )
    assert status == 0, errors
    assert trace.read_text().split()[6:] == ["9.0", str(max(1, (os.cpu_count() or 1) // 2))]
    page = (repository / "reports/experiments/index.html").read_text()
    # A single setting has no parallel coordinates.
    assert page.count("data:image/png") == 2
    check_page(page)

    check_recipe(repository)
    check_branch(repository)
    check_other_commits(repository)


def check_recipe(root: Path) -> None:
    run_visiongate(root, "adopt", "best", "--name=quick")
    text = (root / "conf/experiment/quick.yaml").read_text()
    assert (
        "# Cost: 30 epochs of 57,000 parameters. Score: accuracy 1.0000 (0.9000 to 1.0000), 40 test" in text
    )
    assert yaml.safe_load(text) == {"model": {"lr": 0.03}}


def check_branch(root: Path) -> None:
    before = call(root, "git", "status", "--porcelain").stdout
    _, output, _ = run_visiongate(root, "branch", "best", "try/rate", "--metric=log_loss")
    assert "conf/experiment/try_rate.yaml" in output
    assert call(root, "git", "status", "--porcelain").stdout == before
    call(root, "git", "stash", "-qu")
    call(root, "git", "switch", "-q", "try/rate")
    assert run_visiongate(root, "params", "--check")[0] == 0
    assert yaml.safe_load((root / "params.yaml").read_text())["model"]["lr"] == 0.03
    call(root, "dvc", "checkout", "-q")
    assert "evaluate" not in call(root, "dvc", "status").stdout
    assert call(root, "git", "worktree", "list").stdout.count("\n") == 1


def check_other_commits(root: Path) -> None:
    """List the experiments from a commit that none of them starts from."""
    _, everywhere, _ = run_visiongate(root, "experiments", "--all", "--metric=log_loss")
    _, there, _ = run_visiongate(root, "experiments", "--rev=main")
    for output in (everywhere, there):
        first = re.findall(r"^sweep-\w{8}", output, flags=re.MULTILINE)[0]
        assert first == experiments_by_rate(root)[0.03]
    # The branch has the best settings already.
    assert "Not shown to be better" in everywhere
    assert "Better than the baseline" in there


def test_interrupted_sweep_resumes(repository: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    arguments = ("sweep", "model.lr=0.02,0.03", "--jobs=1")
    known = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "GIT_"))}
    environment = {**known, "PYTHONPATH": str(ROOT / "src"), "TRACE": str(trace), "NAP": "60"}
    command = [sys.executable, "-m", "visiongate", *arguments]
    sweep = subprocess.Popen(command, cwd=repository, env=environment, stdout=subprocess.DEVNULL)
    wait_for(lambda: trace.exists() and "0.02" in trace.read_text())
    sweep.send_signal(signal.SIGKILL)
    sweep.wait()
    end_workers(repository)

    status, _, errors = run_visiongate(repository, *arguments, check=False, TRACE=str(trace))
    assert status == 0, errors
    assert set(experiments_by_rate(repository)) == {0.02, 0.03}
    assert trace.read_text().split()[::2].count("0.03") == 1


def wait_for(condition: Callable[[], bool], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "timeout"
        time.sleep(0.1)
