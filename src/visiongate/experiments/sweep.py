"""A sweep: queue the combinations that have not run, start workers, and wait for the results."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from visiongate.experiments.grid import Combination
from visiongate.experiments.listing import Experiment
from visiongate.experiments.queue import Queue, QueueError

POLL_SECONDS = 15.0
# Polls in a row without a response from a worker: limits for starting workers again, and for failing the sweep.
RESTART_POLLS, MAX_SILENT_POLLS = 3, 6
Status = Literal["done", "queued", "new"]
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SweepResult:
    """The experiments of a sweep that have run, and the last lines of those that failed, by name."""

    done: tuple[str, ...]
    failed: Mapping[str, Sequence[str]]


class Sweep:
    """Combinations, and the queue that runs them."""

    def __init__(self, combinations: Sequence[Combination], queue: Queue) -> None:
        self._combinations = {combination.name: combination for combination in combinations}
        self._queue = queue

    def classify(self, experiments: Mapping[str, Experiment]) -> dict[Status, list[Combination]]:
        """Return the combinations that have run, that are queued or running, and that are new or failed.

        Args:
            experiments: As `Queue.list_experiments` returns them.
        """
        running = any(each.state == "running" for each in experiments.values())
        has_workers = running and self._has_workers()
        groups: dict[Status, list[Combination]] = {"done": [], "queued": [], "new": []}
        for name, combination in self._combinations.items():
            groups[_classify(experiments.get(name), has_workers=has_workers)].append(combination)
        return groups

    def run(self) -> SweepResult:
        """Queue the new and the failed combinations, and wait until all have ended.

        Raises:
            QueueError: The workers have stopped.
            DvcError: DVC failed.
        """
        experiments = self._queue.list_experiments()
        groups = self.classify(experiments)
        if groups["done"]:
            logger.info("%d of %d have run already", len(groups["done"]), len(self._combinations))
        if groups["new"]:
            logger.info("Queueing %d experiments", len(groups["new"]))
        for combination in groups["new"]:
            if combination.name in experiments:
                self._queue.remove(experiments[combination.name])
            self._queue.add(combination)
        pending = {each.name for group in ("queued", "new") for each in groups[group]}
        if pending:
            self._queue.start_workers()
        done = [combination.name for combination in groups["done"]]
        return self._wait(pending, done)

    def _wait(self, pending: set[str], done: list[str]) -> SweepResult:
        failed: dict[str, list[str]] = {}
        silent_polls = 0
        while pending:
            experiments = self._queue.list_experiments()
            ended = {name for name in pending if name in experiments and _has_ended(experiments[name])}
            pending -= ended
            for name in sorted(ended):
                experiment = experiments[name]
                if experiment.state == "done":
                    done.append(name)
                else:
                    failed[name] = experiment.last_lines()
                self._log_progress(experiment, len(done) + len(failed))
            silent_polls = 0 if ended or self._queue.count_workers() else silent_polls + 1
            if pending:
                self._restart_workers(silent_polls)
                self._queue.wait(POLL_SECONDS)
        return SweepResult(tuple(done), failed)

    def _restart_workers(self, silent_polls: int) -> None:
        """Start workers again if none has responded, and raise if none responds after that."""
        if silent_polls >= MAX_SILENT_POLLS:
            raise QueueError(
                "the workers of the queue have stopped; run the same command to resume, or `dvc queue logs` to see why"
            )
        if silent_polls == RESTART_POLLS:
            self._queue.start_workers()

    def _log_progress(self, experiment: Experiment, ended: int) -> None:
        label = self._combinations[experiment.name].label
        outcome = "finished" if experiment.state == "done" else "FAILED"
        logger.info("[%d/%d] %s %s: %s", ended, len(self._combinations), experiment.name, outcome, label)

    def _has_workers(self) -> bool:
        return any(self._queue.count_workers() for _ in range(RESTART_POLLS))


def _has_ended(experiment: Experiment) -> bool:
    return experiment.state in {"done", "failed"}


def _classify(experiment: Experiment | None, *, has_workers: bool) -> Status:
    if experiment is None or experiment.state == "failed":
        return "new"
    if experiment.state == "done":
        return "done"
    # An experiment that runs without a worker was interrupted.
    return "queued" if experiment.state == "queued" or has_workers else "new"
