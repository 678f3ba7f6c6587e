"""A sweep: whatever of its combinations has not run yet is queued, run, and waited for."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from visiongate.adapters.git import FinishedExperiments
from visiongate.experiments.grid import Combination
from visiongate.experiments.queue import Entry, Look, Queue, QueueError

LOOK = 10.0  # seconds between two looks at the queue, when nothing ends
GLANCE = 1.0  # seconds between two glances at whether something ended
START = 15.0  # seconds that a worker may take before it answers
ATTEMPTS = 3  # to get workers going, or to run one experiment whose worker was killed

Tell = Callable[[str], None]


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
    attempts: dict[str, int] = field(default_factory=dict)  # by name

    @property
    def place(self) -> str:
        return f"[{self.total - len(self.waiting)}/{self.total}]"


class Sweep:
    """Combinations, and the queue that runs them."""

    def __init__(
        self, combinations: Sequence[Combination], queue: Queue, finished: FinishedExperiments, tell: Tell
    ) -> None:
        self._combinations = {combination.name: combination for combination in combinations}
        self._queue = queue
        self._finished = finished
        self._tell = tell

    def sort(self, look: Look) -> dict[str, list[Combination]]:
        """Sort the combinations by what is to be done: ``done``, ``waiting`` in the queue or running, ``new``."""
        finished = self._finished.names()
        groups: dict[str, list[Combination]] = {"done": [], "waiting": [], "new": []}
        for name, combination in self._combinations.items():
            entry = look.entries.get(name)
            waits = entry is not None and entry.state in {"Queued", "Running"}
            groups["done" if name in finished else "waiting" if waits else "new"].append(combination)
        return groups

    def run(self) -> Outcome:
        """Queue what is new or has failed before, start workers, and wait until all has ended.

        Raises:
            QueueError: No worker stays alive.
            DvcError: DVC refuses an experiment.
        """
        look = self._queue.look()
        groups = self.sort(look)
        course = _Course(dict(self._combinations), len(self._combinations))
        if groups["done"]:
            self._tell(f"{len(groups['done'])} of {course.total} have run already")
        for combination in groups["done"]:
            course.done.append(course.waiting.pop(combination.name).name)
        if groups["new"]:
            self._tell(f"Queueing {len(groups['new'])}, a second or two for each")
        for combination in groups["new"]:
            self._put(combination, look.entries.get(combination.name))
        while course.waiting:
            self._step(course)
        return Outcome(tuple(course.done), course.failed)

    def _put(self, combination: Combination, before: Entry | None) -> None:
        """Queue a combination, in the place of an entry that came to nothing: what it failed for may be mended."""
        if before is not None:
            self._queue.drop(before)
        self._queue.put(combination)

    def _step(self, course: _Course) -> None:
        """Tell what has ended, get going what stands still, and wait until more has ended."""
        before = self._finished.fingerprint()
        look = self._queue.look()
        self._close_finished(course)
        for name in list(course.waiting):
            entry = look.entries.get(name)
            if entry is not None and entry.state == "Failed":
                self._fail(course, name, self._queue.last_words(entry))
        if course.waiting and time.monotonic() - course.started > START:
            self._get_going(course, look)
        self._pause(course, before)

    def _close_finished(self, course: _Course) -> None:
        for name in sorted(self._finished.names() & course.waiting.keys()):
            combination = course.waiting.pop(name)
            course.done.append(name)
            course.starts = 0
            self._tell(f"{course.place} {name}: {combination.label}")

    def _fail(self, course: _Course, name: str, said: list[str]) -> None:
        combination = course.waiting.pop(name)
        course.failed[name] = said
        course.starts = 0
        self._tell(f"{course.place} {name} FAILED: {combination.label}")

    def _get_going(self, course: _Course, look: Look) -> None:
        """Queue again what was lost or cut off with its worker; start workers where they are missing."""
        for name in list(course.waiting):
            entry = look.entries.get(name)
            alive = entry is not None and (
                entry.state == "Queued" or (entry.state == "Running" and look.workers)
            )
            if not alive:
                self._repeat(course, name, entry)
        queued = any(look.entries[name].state == "Queued" for name in course.waiting if name in look.entries)
        if look.workers >= self._queue.jobs or (look.workers and not queued):
            return
        course.starts += not look.workers
        if course.starts > ATTEMPTS:
            said = " | ".join(self._queue.worker_lines()) or "nothing"
            raise QueueError(f"the queue's workers run nothing; they said last: {said}")
        self._queue.start()
        course.started = time.monotonic()

    def _repeat(self, course: _Course, name: str, entry: Entry | None) -> None:
        course.attempts[name] = course.attempts.get(name, 0) + 1
        if course.attempts[name] > ATTEMPTS:
            self._fail(course, name, [f"given up after it was cut off {ATTEMPTS} times"])
            return
        self._tell(f"{name} was cut off; it runs again")
        self._put(course.waiting[name], entry)

    def _pause(self, course: _Course, before: str) -> None:
        """Wait until something has ended, but not for long: a worker that is killed ends nothing."""
        until = time.monotonic() + LOOK
        while course.waiting and time.monotonic() < until and self._finished.fingerprint() == before:
            time.sleep(GLANCE)
