"""DVC's queue of experiments. Its workers are background processes that outlive the command that started them."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from visiongate.adapters.dvc_retry import run_dvc_with_retries
from visiongate.adapters.git import Repository
from visiongate.adapters.processes import program_path
from visiongate.errors import VisiongateError
from visiongate.experiments.grid import Combination
from visiongate.experiments.listing import Experiment, list_experiments

WORKERS = re.compile(r"Worker status: (\d+) active, (\d+) idle")


class QueueError(VisiongateError):
    """The queue's workers do not start, or have stopped."""


@dataclass(frozen=True, slots=True)
class Queue:
    """The queue, for experiments that start from one commit.

    Attributes:
        directory: The root of the repository.
        commit: The commit that the experiments start from.
        stage: The last stage to run.
        jobs: Experiments at a time.
    """

    directory: Path
    commit: str
    stage: str
    jobs: int

    def list_experiments(self) -> dict[str, Experiment]:
        """Return the commit's experiments by name: finished, failed, running and queued."""
        (baseline,) = list_experiments(self.directory, [self.commit])
        return {each.name: each for each in baseline.experiments}

    def add(self, combination: Combination) -> None:
        """Queue an experiment: the tracked files as they are now, with the parameters of the combination."""
        settings = [f"--set-param={override}" for override in combination.overrides]
        name = f"--name={combination.name}"
        # DVC stashes the changes of the work tree meanwhile, and must be able to restore them.
        with _delay_interrupts():
            self._run("exp", "run", "--queue", "--pull", name, *settings, self.stage)

    def remove(self, experiment: Experiment) -> None:
        """Remove a failed experiment, or one whose worker was killed."""
        if experiment.state == "running":
            self._run("queue", "kill", "--force", experiment.rev)
        self._run("queue", "remove", experiment.rev)

    def start_workers(self) -> None:
        """Start as many workers as there are jobs; those that are running count.

        Raises:
            QueueError: DVC failed.
        """
        # The workers inherit the output. With a pipe, this process would wait until they end.
        result = subprocess.run(  # noqa: S603 - a list of arguments, no shell
            [sys.executable, "-m", "dvc", "queue", "start", f"--jobs={self.jobs}"],
            cwd=self.directory,
            env={**os.environ, **self._environment()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        if result.returncode:
            raise QueueError(
                f"`dvc queue start` failed with status {result.returncode}; run it for the reason"
            )

    def count_workers(self) -> int:
        """Return how many workers respond. A busy machine may delay a response, so that 0 does not prove that none run."""
        status = WORKERS.search(self._run("queue", "status"))
        return sum(map(int, status.groups())) if status else 0

    def wait(self, seconds: float) -> None:
        """Wait until an experiment ends or fails, at most some seconds. DVC writes a git reference then."""
        repository, deadline = Repository(self.directory), time.monotonic() + seconds
        before = repository.run("for-each-ref", "refs/exps")
        while time.monotonic() < deadline and repository.run("for-each-ref", "refs/exps") == before:
            time.sleep(1)

    def _run(self, *arguments: str) -> str:
        return run_dvc_with_retries(arguments, self.directory, self._environment())

    def _environment(self) -> Mapping[str, str]:
        """Return variables with which a worker finds this environment's ``dvc`` and ``python``, and uses its share of cores."""
        if self.jobs == 1:
            return {"PATH": program_path()}
        threads = str(max(1, (os.cpu_count() or 1) // self.jobs))
        return {"PATH": program_path(), "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", threads)}


@contextmanager
def _delay_interrupts() -> Iterator[None]:
    """Delay signals to this process and those that it starts until the block ends."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
