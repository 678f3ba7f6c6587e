"""Sweeps by DVC's own queue, with real workers, on a line that takes no time."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from clones import ROOT, call
from quick_line import end_workers, make_repository, run_module

GRID = "--grid=model.lr=0.02,0.03,9"


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Path]:
    yield make_repository(tmp_path)
    end_workers(tmp_path)


def experiments(root: Path) -> list[str]:
    told = call(root, "git", "for-each-ref", "--format=%(refname)", "refs/exps").stdout.split()
    return sorted(name.rpartition("/")[2] for name in told if "/celery/" not in name)


def test_a_sweep_is_run_told_resumed_and_adopted(repository: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    (repository / "src/stage.py").open("a").write("# not committed\n")

    status, told, complaint = run_module(repository, "commands.sweep", GRID, check=False, TRACE=str(trace))
    assert status == 1
    assert "Not committed, and part of each experiment: src/stage.py" in told
    assert re.search(r"sweep-\w{8} FAILED: model.lr=9", told)
    assert "evaluate: the rate is too large" in complaint
    assert "1 failed; the same command runs them again, and only them" in complaint
    assert re.search(
        r"^sweep-\w{8} +1\.0000 +0\.9000 to 1\.0000 +\+0\.2000  passes +model\.lr=0\.03$",
        told,
        flags=re.MULTILINE,
    )
    assert (
        "It is better than the base by more than luck: accuracy 0.8000 and 1.0000 on the same 40 test images, 8"
        in told
    )
    assert "times 2 tried: p = 0.0078" in told
    assert len(experiments(repository)) == 2
    assert (repository / "src/stage.py").read_text().endswith("# not committed\n")
    assert sorted(trace.read_text().split()[::2]) == ["0.02", "0.03", "9.0"]

    status, told, _ = run_module(repository, "commands.sweep", GRID, "--dry")
    assert (status, told.count("has run"), told.count("would run  sweep-")) == (0, 2, 1)
    status, told, complaint = run_module(
        repository, "commands.sweep", GRID, "--jobs=2", check=False, TRACE=str(trace), MENDED="1"
    )
    assert (status, complaint) == (0, "")
    assert "2 of 3 have run already" in told
    assert trace.read_text().split()[6:] == ["9.0", str(max(1, (os.cpu_count() or 1) // 2))]
    page = (repository / "reports/experiments/index.html").read_text()
    assert (
        page.count("data:image/png") == 3
    )  # values, by setting, curves; a single setting makes no parallel coordinates
    assert not re.search(r"<script|(?:src|href)=\"(?!data:)", page)

    check_recipe(repository)
    check_branch(repository)
    check_elsewhere(repository)


def check_recipe(root: Path) -> None:
    status, told, _ = run_module(root, "commands.adopt", "--from=best", "--name=quick")
    assert (status, told) == (
        0,
        "conf/experiment/quick.yaml written; to run it: dvc exp run -S experiment=quick\n",
    )
    text = (root / "conf/experiment/quick.yaml").read_text()
    assert (
        "# Cost: 30 epochs of 57,000 parameters. Score: accuracy 1.0000 (0.9000 to 1.0000), 40 test images.\n"
        in text
    )
    assert yaml.safe_load(text) == {"model": {"lr": 0.03}}
    _, _, complaint = run_module(root, "commands.adopt", "--from=sweep-0", "--name=quick", check=False)
    assert re.fullmatch(
        r"adopt: FROM=sweep-0: no such experiment; there are sweep-\w+, sweep-\w+, sweep-\w+\n", complaint
    )


def check_branch(root: Path) -> None:
    before = call(root, "git", "status", "--porcelain").stdout
    status, told, _ = run_module(
        root, "commands.branch", "--from=best", "--metric=log_loss", "--name=try/rate"
    )
    assert status == 0
    assert "conf/experiment/try_rate.yaml, chosen in conf/config.yaml" in told
    assert call(root, "git", "status", "--porcelain").stdout == before
    call(root, "git", "stash", "-qu")
    call(root, "git", "switch", "-q", "try/rate")
    assert run_module(root, "compose", "--check")[0] == 0
    assert yaml.safe_load((root / "params.yaml").read_text())["model"]["lr"] == 0.03
    call(root, "dvc", "checkout", "-q")
    assert "evaluate" not in call(root, "dvc", "status").stdout
    assert call(root, "git", "worktree", "list").stdout.count("\n") == 1
    _, _, complaint = run_module(root, "commands.branch", "--from=best", "--name=try/rate", check=False)
    assert complaint.startswith("branch: ")


def check_elsewhere(root: Path) -> None:
    """On another commit, where none of them starts."""
    _, _, complaint = run_module(root, "commands.experiments", check=False)
    assert complaint.startswith("experiments: no experiment has run yet")
    _, everywhere, _ = run_module(root, "commands.experiments", "--all", "--metric=log_loss")
    _, there, _ = run_module(root, "commands.experiments", "--rev=main")
    for told in (everywhere, there):
        assert re.findall(r"^sweep-\w{8}", told, flags=re.MULTILINE)[0] == experiments_by_rate(root)[0.03]
    assert "not shown to be better" in everywhere  # the branch has it already
    assert "is better than the base by more than luck" in there
    _, _, complaint = run_module(root, "commands.experiments", "--all", "--metric=nonsense", check=False)
    assert complaint.endswith(
        "there are accuracy, ece, images, log_loss, optimize.epochs, parameters, training.epochs\n"
    )


def experiments_by_rate(root: Path) -> dict[float, str]:
    told = call(root, "git", "for-each-ref", "--format=%(refname)", "refs/exps").stdout.split()
    refs = [ref for ref in told if "/celery/" not in ref and "/sweep-" in ref]
    texts = {ref: call(root, "git", "show", f"{ref}:params.yaml").stdout for ref in refs}
    return {float(yaml.safe_load(text)["model"]["lr"]): ref.rpartition("/")[2] for ref, text in texts.items()}


def test_what_was_cut_off_goes_on(repository: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    command = [sys.executable, "-m", "visiongate.commands.sweep", "--grid=model.lr=0.02,0.03", "--jobs=1"]
    known = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "GIT_"))}
    environment = {**known, "PYTHONPATH": str(ROOT / "src"), "TRACE": str(trace), "NAP": "60"}
    sweep = subprocess.Popen(command, cwd=repository, env=environment, stdout=subprocess.DEVNULL)
    wait_for(lambda: trace.exists() and "0.02" in trace.read_text())
    sweep.send_signal(signal.SIGKILL)
    sweep.wait()
    end_workers(repository)
    for folder in repository.glob(".dvc/tmp/exps/tmp*"):  # DVC would stumble over the loss for ever
        shutil.rmtree(folder)
    _, _, complaint = run_module(repository, "commands.experiments", check=False)
    assert complaint.startswith("experiments: no experiment has run yet")

    status, told, complaint = run_module(
        repository, "commands.sweep", "--grid=model.lr=0.02,0.03", "--jobs=1", check=False, TRACE=str(trace)
    )
    assert (status, complaint) == (0, "")
    assert "Queueing 1, a second or two for each" in told
    assert len(experiments(repository)) == 2
    assert trace.read_text().split()[::2].count("0.03") == 1


def wait_for(happened: object, seconds: float = 300) -> None:
    until = time.monotonic() + seconds
    while not happened():  # type: ignore[operator]
        assert time.monotonic() < until, "it does not happen"
        time.sleep(0.1)
