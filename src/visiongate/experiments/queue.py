"""DVC's queue of experiments, and the workers that empty it: processes in the background, which outlive who started them."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from visiongate.dvc_faults import explain
from visiongate.errors import VisiongateError
from visiongate.experiments.grid import Combination
from visiongate.experiments.listing import Experiment, list_experiments
from visiongate.experiments.patience import insist_dvc

KEPT_LINES = 6  # of what a failed experiment said
WORKER_LOGS = ".dvc/tmp/exps/celery"
UNTOUCHABLE = {signal.SIGINT, signal.SIGTERM}
RANK = ("failed", "queued", "running", "done")  # of two of a name the later counts


class QueueError(VisiongateError):
    """The queue cannot work."""


@dataclass(frozen=True, slots=True)
class Work:
    """How experiments are to be run."""

    directory: Path
    commit: str  # that they start from
    stage: str  # that they end with
    jobs: int  # at a time


class Queue:
    """The queue, for the experiments of one commit."""

    def __init__(self, work: Work) -> None:
        self._work = work
        # A worker calls `dvc` by name, and a stage `python`: those of this environment.
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        self._environment = {"PATH": path}
        if work.jobs > 1:
            threads = max(1, (os.cpu_count() or 1) // work.jobs)
            self._environment["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", str(threads))

    def check(self) -> None:
        """Make sure that a worker will find DVC: one that does not leaves no log.

        Raises:
            QueueError: It will not.
        """
        command = shutil.which("dvc", path=self._environment["PATH"])
        try:
            found = (
                command is not None
                and not subprocess.run(  # noqa: S603 - DVC itself, with one option
                    [command, "--version"], capture_output=True, check=False
                ).returncode
            )
        except OSError:
            found = False
        if not found:
            raise QueueError(
                f"{Path(sys.executable).parent}/dvc does not start, and DVC's queue calls it by name: if the folder was "
                "moved, make the environment anew: rm -r .venv && make setup"
            )

    def experiments(self) -> dict[str, Experiment]:
        """Read what there is of the commit, by name."""
        (baseline,) = list_experiments(self._work.directory, [self._work.commit])
        ranked = sorted(baseline.experiments, key=lambda experiment: RANK.index(experiment.state))
        return {experiment.name: experiment for experiment in ranked}

    def put(self, combination: Combination) -> None:
        """Add an experiment: the files that git tracks as they are now, with the parameters composed anew.

        DVC puts aside what is not committed, and back again. Cut off in between it would leave it aside: so it is not, and
        who interrupts waits for the second that it takes.
        """
        settings = [f"--set-param={override}" for override in combination.overrides]
        command = [
            "exp",
            "run",
            "--queue",
            "--pull",
            f"--name={combination.name}",
            *settings,
            self._work.stage,
        ]
        with _undisturbed():
            insist_dvc(command, self._work.directory, self._environment)

    def drop(self, experiment: Experiment) -> None:
        """Take an experiment that failed, or whose worker was killed, out of the queue."""
        if experiment.state == "running":
            insist_dvc(["queue", "kill", "--force", experiment.rev], self._work.directory)
        insist_dvc(["queue", "remove", experiment.rev], self._work.directory)

    def start(self) -> None:
        """Start as many workers as there are jobs; those that are at work already count.

        Raises:
            QueueError: DVC refuses.
        """
        command = [sys.executable, "-m", "dvc", "queue", "start", f"--jobs={self._work.jobs}"]
        # The workers inherit what it writes to: whoever reads a pipe would wait for them to end.
        with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
            done = subprocess.run(  # noqa: S603 - DVC with two words and a number
                command,
                cwd=self._work.directory,
                env={**os.environ, **self._environment},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                check=False,
            )
            said.seek(0)
            if done.returncode:
                raise QueueError(f"dvc queue start: {explain(said.read())}")

    def count_workers(self) -> int:
        """Ask how many workers answer."""
        told = insist_dvc(["queue", "status"], self._work.directory)
        found = re.search(r"Worker status: (\d+) active, (\d+) idle", told)
        if found is None:
            raise QueueError("dvc queue status: not understood: it tells of no workers")
        return int(found[1]) + int(found[2])

    def worker_lines(self) -> list[str]:
        """Return the last lines that the workers said."""
        logs = sorted((self._work.directory / WORKER_LOGS).glob("*.out"))
        return [line for log in logs for line in _last_lines(log)]


def last_words(experiment: Experiment) -> list[str]:
    """Return the last lines that an experiment said; none where it failed before it said any."""
    return [] if experiment.log is None else _last_lines(experiment.log)


def is_alive(experiment: Experiment) -> bool:
    """Say whether the process that runs an experiment is there."""
    if experiment.pid is None:
        return False
    try:
        os.kill(experiment.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _last_lines(path: Path) -> list[str]:
    try:
        lines: Sequence[str] = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    return list(dict.fromkeys(line.strip() for line in lines if line.strip()))[-KEPT_LINES:]


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Hold interruptions back, from this process and those that it starts, until the block ends."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, UNTOUCHABLE)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
