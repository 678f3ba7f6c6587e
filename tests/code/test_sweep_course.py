"""What a sweep does when workers die, someone empties the queue, or an experiment fails before it begins.

The queue is a scripted one: a real one is in tests/pipeline/test_sweep.py, and loses no worker on demand.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import pytest

from visiongate.experiments import sweep as sweeping
from visiongate.experiments.grid import Combination
from visiongate.experiments.queue import Entry, Look, Queue, QueueError, last_lines
from visiongate.experiments.sweep import Sweep

if TYPE_CHECKING:
    from visiongate.adapters.git import Finished

Script = Callable[["Scripted"], None]


@dataclass
class Scripted:
    """A queue whose workers do what a script says at each look, and the experiments that have run."""

    scripts: list[Script]
    jobs: int = 1
    workers: int = 0
    entries: dict[str, Entry] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    calls: list[str] = field(default_factory=list)

    def look(self) -> Look:
        if self.calls:  # the first look only sorts
            (self.scripts.pop(0) if self.scripts else lambda _: None)(self)
        self.calls.append("look")
        return Look(dict(self.entries), self.workers)

    def put(self, combination: Combination) -> None:
        self.calls.append(f"put {combination.name}")
        self.entries[combination.name] = Entry(f"{len(self.calls):07}", combination.name, "Queued")

    def drop(self, entry: Entry) -> None:
        self.calls.append(f"drop {entry.name} {entry.state}")
        del self.entries[entry.name]

    def start(self) -> None:
        self.calls.append("start")

    def last_words(self, entry: Entry) -> list[str]:
        return [f"{entry.name} said this"]

    def worker_lines(self) -> list[str]:
        return ["no dvc here"]

    def names(self) -> set[str]:
        return self.done

    def fingerprint(self) -> str:
        return str(self.calls)  # something always moves: nothing waits

    def count(self, call: str) -> int:
        return self.calls.count(call)


def state(name: str, word: str, workers: int = 1) -> Script:
    def script(queue: Scripted) -> None:
        queue.workers = workers
        if word == "done":
            queue.done.add(name)
            queue.entries.pop(name, None)
        elif word == "gone":
            queue.entries.pop(name, None)
        else:
            queue.entries[name] = Entry("abcdef0", name, word)

    return script


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "START", -1.0)
    monkeypatch.setattr(sweeping, "LOOK", 0.01)
    monkeypatch.setattr(sweeping, "GLANCE", 0.001)


def sweep(queue: Scripted, *names: str) -> tuple[Sweep, list[str]]:
    told: list[str] = []
    combinations = [Combination(name, (f"x={name}",)) for name in names]
    return Sweep(combinations, cast("Queue", queue), cast("Finished", queue), told.append), told


def test_what_has_run_or_waits_is_not_queued_again() -> None:
    queue = Scripted([state("b", "done"), state("c", "done"), state("d", "done")], workers=1)
    queue.done = {"a"}
    queue.entries = {
        name: Entry("1" * 7, name, word)
        for name, word in (("b", "Queued"), ("c", "Running"), ("d", "Failed"))
    }
    running, told = sweep(queue, "a", "b", "c", "d")
    assert running.run().done == ("a", "b", "c", "d")
    assert [call for call in queue.calls if "put" in call or "drop" in call] == ["drop d Failed", "put d"]
    assert told[:2] == ["1 of 4 have run already", "Queueing 1, a second or two for each"]
    assert told[-1] == "[4/4] d: x=d"


def test_an_experiment_that_fails_is_told_with_its_last_words() -> None:
    queue = Scripted([state("a", "Running"), state("a", "Failed"), state("b", "done")])
    running, told = sweep(queue, "a", "b")
    outcome = running.run()
    assert (outcome.done, outcome.failed) == (("b",), {"a": ["a said this"]})
    assert "[1/2] a FAILED: x=a" in told


@pytest.mark.parametrize("word", ["Running", "Success"])
def test_what_is_cut_off_with_its_worker_runs_again(word: str) -> None:
    queue = Scripted([state("a", word, workers=0), state("a", "done")])
    running, told = sweep(queue, "a")
    assert running.run().done == ("a",)
    assert (queue.count("put a"), queue.count(f"drop a {word}"), queue.count("start")) == (2, 1, 1)
    assert "a was cut off; it runs again" in told


def test_what_someone_takes_out_of_the_queue_is_put_back() -> None:
    queue = Scripted([state("a", "gone"), state("a", "done")])
    running, _ = sweep(queue, "a")
    assert running.run().done == ("a",)
    assert queue.count("put a") == 2


def test_what_is_always_cut_off_is_given_up() -> None:
    queue = Scripted([state("a", "gone") for _ in range(9)], workers=1)
    running, _ = sweep(queue, "a")
    assert running.run().failed == {"a": ["given up after it was cut off 3 times"]}
    assert queue.count("put a") == 4


def test_workers_that_end_at_once_are_told_with_what_they_said() -> None:
    queue = Scripted([])
    running, _ = sweep(queue, "a")
    with pytest.raises(QueueError, match="the queue's workers run nothing; they said last: no dvc here"):
        running.run()
    assert queue.count("start") == 3


def test_a_worker_that_is_missing_is_started_while_another_works() -> None:
    queue = Scripted(
        [state("a", "Running"), state("a", "Running"), state("a", "done"), state("b", "done")], jobs=2
    )
    running, _ = sweep(queue, "a", "b")
    assert running.run().done == ("a", "b")
    assert queue.count("start") >= 2


def test_the_last_lines_are_those_that_say_something() -> None:
    assert last_lines("\n".join(["x", "", "  again", "again", *"abcde", "\t"])) == ["again", *"abcde"]
    assert last_lines("") == []
