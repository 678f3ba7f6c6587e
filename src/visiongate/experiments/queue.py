"""DVC's queue of experiments, and the workers that empty it: processes in the background, which outlive who started them."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from visiongate.adapters.dvc import DvcError
from visiongate.adapters.dvc_faults import explain
from visiongate.adapters.dvc_retry import insist_dvc
from visiongate.errors import VisiongateError
from visiongate.experiments.grid import Combination

KEPT_LINES = 6  # of what a failed experiment said
WORKER_LOGS = ".dvc/tmp/exps/celery"
UNTOUCHABLE = {signal.SIGINT, signal.SIGTERM}
RANK = ("Success", "Failed", "Queued", "Running")  # of two of a name the later counts
ENTRY = re.compile(rf"^([0-9a-f]{{7,40}})\s+(\S+)\s.*\s({'|'.join(RANK)})\s*$", re.MULTILINE)
WORKERS = re.compile(r"Worker status: (\d+) active, (\d+) idle")


class QueueError(VisiongateError):
    """The queue cannot work."""


@dataclass(frozen=True, slots=True)
class Work:
    """How experiments are to be run."""

    directory: Path
    commit: str  # that they start from
    stage: str  # that they end with
    jobs: int  # at a time


@dataclass(frozen=True, slots=True)
class Entry:
    """An experiment in the queue, or that went through it."""

    rev: str  # the first digits
    name: str
    state: str  # one of `RANK`


@dataclass(frozen=True, slots=True)
class Look:
    """What there is in the queue."""

    entries: Mapping[str, Entry]  # by name
    workers: int


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

    @property
    def jobs(self) -> int:
        """How many workers there are to be."""
        return self._work.jobs

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

    def look(self) -> Look:
        """As `look_at`, at the queue of the repository."""
        return look_at(self._work.directory)

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

    def drop(self, entry: Entry) -> None:
        """Take an experiment that failed, or whose worker was killed, out of the queue."""
        if entry.state == "Running":
            _kill(entry, self._work.directory)
        insist_dvc(["queue", "remove", entry.rev], self._work.directory)

    def last_words(self, entry: Entry) -> list[str]:
        """Return the last lines that an experiment said, or, where it failed before it said any, those of the workers."""
        try:
            said = insist_dvc(["queue", "logs", entry.rev], self._work.directory)
        except DvcError:
            return ["it failed before it said anything; the queue's workers said:", *self.worker_lines()]
        return last_lines(said)

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

    def worker_lines(self) -> list[str]:
        """Return the last lines that the workers said."""
        logs = sorted((self._work.directory / WORKER_LOGS).glob("*.out"))
        texts = (log.read_text(encoding="utf-8", errors="replace") for log in logs)
        return [line for text in texts for line in last_lines(text)]


def look_at(directory: Path) -> Look:
    """Ask what is in a repository's queue, of whatever commit, and how many workers there are.

    Raises:
        QueueError: What DVC tells is not understood.
    """
    told = insist_dvc(["queue", "status"], directory)
    answering = WORKERS.search(told)
    if answering is None:
        raise QueueError("dvc queue status: not understood: it tells of no workers")
    entries = [Entry(*found) for found in ENTRY.findall(told)]
    # The same may be there twice, where one that failed was queued again: what goes on counts.
    ranked = sorted(entries, key=lambda entry: RANK.index(entry.state))
    # One that is busy on a busy machine may not answer within DVC's second: it lives all the same.
    workers = max(sum(map(int, answering.groups())), _count_living(directory))
    return Look({entry.name: entry for entry in ranked}, workers)


def bury_dead(directory: Path) -> None:
    """Mark the experiments as failed that no worker is left to run: DVC takes them for running, and may stumble over them."""
    look = look_at(directory)
    for entry in look.entries.values() if not look.workers else ():
        if entry.state == "Running":
            _kill(entry, directory)


def _kill(entry: Entry, directory: Path) -> None:
    insist_dvc(["queue", "kill", "--force", entry.rev], directory)


def _count_living(directory: Path) -> int:
    """Count the processes that DVC started as workers and that are there still."""
    texts = (path.read_text(encoding="utf-8") for path in (directory / WORKER_LOGS).glob("*.json"))
    pids = [found[1] for text in texts if (found := re.search(r'"pid": (\d+)', text))]
    if not pids:
        return 0
    told = subprocess.run(  # noqa: S603 - ps with numbers
        ["ps", "-o", "args=", "-p", ",".join(pids)],  # noqa: S607 - by PATH, as every system has it
        capture_output=True,
        text=True,
        check=False,
    )
    return told.stdout.count("queue-worker")


def last_lines(said: str) -> list[str]:
    """Return the last lines of a text that say something, each once."""
    return list(dict.fromkeys(line.strip() for line in said.splitlines() if line.strip()))[-KEPT_LINES:]


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Hold interruptions back, from this process and those that it starts, until the block ends."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, UNTOUCHABLE)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
