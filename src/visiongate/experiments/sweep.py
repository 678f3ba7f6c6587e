"""A sweep: whatever of its combinations has not run yet is queued, run, and waited for."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from visiongate.experiments.grid import Combination
from visiongate.experiments.listing import Experiment
from visiongate.experiments.queue import Queue, QueueError, is_alive, last_words

LOOK = 10.0  # seconds between two looks at all that runs, when nothing moves
GLANCE = 1.0  # seconds between two glances at whether something moved
START = 15.0  # seconds that a worker may take before it answers
ATTEMPTS = 3  # to get workers going, or one experiment run whose worker was killed

Tell = Callable[[str], None]
Watch = Callable[[], str]  # gives another text when an experiment begins or ends


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a sweep."""

    done: tuple[str, ...]
    failed: Mapping[str, Sequence[str]]  # the last lines that each said


@dataclass(slots=True)
class _Course:
    """How far a sweep is."""

    waiting: dict[str, Combination]
    total: int
    done: list[str] = field(default_factory=list)
    failed: dict[str, list[str]] = field(default_factory=dict)
    starts: int = 0  # of workers, since something last moved
    started: float = 0.0
    attempts: dict[str, int] = field(default_factory=dict)


class Sweep:
    """Combinations, and the queue that runs them."""

    def __init__(self, combinations: Sequence[Combination], queue: Queue, watch: Watch, tell: Tell) -> None:
        self._combinations = {combination.name: combination for combination in combinations}
        self._queue = queue
        self._watch = watch
        self._tell = tell

    def sort(self) -> dict[str, list[Combination]]:
        """Sort the combinations by what is to be done: ``done``, ``waiting`` in the queue or running, ``new``."""
        known = self._queue.experiments()
        sorted_: dict[str, list[Combination]] = {"done": [], "waiting": [], "new": []}
        for name, combination in self._combinations.items():
            state = known[name].state if name in known else "new"
            group = {"queued": "waiting", "running": "waiting", "failed": "new"}.get(state, state)
            sorted_[group].append(combination)
        return sorted_

    def run(self) -> Outcome:
        """Queue what is new or has failed before, start workers, and wait until all has ended.

        Raises:
            QueueError: No worker stays alive.
            DvcError: DVC refuses an experiment.
        """
        found = self.sort()
        course = _Course(dict(self._combinations), len(self._combinations))
        if found["done"]:
            self._tell(f"{len(found['done'])} of {course.total} have run already")
            for combination in found["done"]:
                course.waiting.pop(combination.name)
                course.done.append(combination.name)
        if found["new"]:
            self._fill(found["new"])
        while course.waiting:
            before = self._watch()
            self._look(course)
            self._pause(course, before)
        return Outcome(tuple(course.done), course.failed)

    def _fill(self, combinations: Sequence[Combination]) -> None:
        known = self._queue.experiments()
        self._tell(f"Queueing {len(combinations)}, a second or two for each")
        for combination in combinations:
            if combination.name in known:  # it failed: what it failed for may be mended
                self._queue.drop(known[combination.name])
            self._queue.put(combination)

    def _look(self, course: _Course) -> None:
        """Tell what has ended; get going what stands still."""
        known = self._queue.experiments()
        for name in list(course.waiting):
            experiment = known.get(name)
            if experiment is not None and experiment.state in {"done", "failed"}:
                self._close(course, experiment)
        left = [known[name] for name in course.waiting if name in known]
        if len(left) < len(course.waiting):  # someone emptied the queue meanwhile
            self._refill(course, [name for name in course.waiting if name not in known])
        stands = [each for each in left if each.state == "queued" or not is_alive(each)]
        if course.waiting and (stands or not left) and time.monotonic() - course.started > START:
            self._get_going(course, stands)

    def _close(self, course: _Course, experiment: Experiment) -> None:
        combination = course.waiting.pop(experiment.name)
        course.starts = 0
        place = f"[{course.total - len(course.waiting)}/{course.total}]"
        if experiment.state == "done":
            course.done.append(experiment.name)
            self._tell(f"{place} {experiment.name}: {combination.label}")
        else:
            self._fail(course, experiment.name, last_words(experiment))
            self._tell(f"{place} {experiment.name} FAILED: {combination.label}")

    def _fail(self, course: _Course, name: str, words: Sequence[str]) -> None:
        said = list(words) or [
            "it failed before it said anything; its worker said:",
            *self._queue.worker_lines(),
        ]
        course.failed[name] = said

    def _get_going(self, course: _Course, stands: Sequence[Experiment]) -> None:
        """Start workers where they are missing; run again what was cut off with its worker."""
        if self._queue.count_workers() == 0:
            course.starts += 1
            if course.starts > ATTEMPTS:
                said = " | ".join(self._queue.worker_lines()) or "nothing"
                raise QueueError(f"the queue's workers end at once; they said: {said}")
            cut = [each.name for each in stands if each.state == "running"]
            for experiment in stands:
                if experiment.state == "running":
                    self._tell(f"{experiment.name} was cut off; it runs again")
                    self._queue.drop(experiment)
            self._refill(course, cut)
        self._queue.start()
        course.started = time.monotonic()

    def _refill(self, course: _Course, names: Sequence[str]) -> None:
        for name in names:
            course.attempts[name] = course.attempts.get(name, 0) + 1
            if course.attempts[name] > ATTEMPTS:
                course.waiting.pop(name)
                course.failed[name] = [f"given up after it was cut off {ATTEMPTS} times"]
            else:
                self._queue.put(course.waiting[name])

    def _pause(self, course: _Course, before: str) -> None:
        """Wait until something moves, but not for long: a worker that is killed moves nothing."""
        until = time.monotonic() + LOOK
        while course.waiting and time.monotonic() < until and self._watch() == before:
            time.sleep(GLANCE)
