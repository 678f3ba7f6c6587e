"""The loop of a sweep on a scripted queue. `tests/pipeline/test_sweep_queue.py` has a real one."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import pytest

from visiongate.experiments.grid import Combination
from visiongate.experiments.listing import Experiment, State
from visiongate.experiments.queue import Queue, QueueError
from visiongate.experiments.sweep import Sweep

Step = Callable[["ScriptedQueue"], None]


@dataclass
class ScriptedQueue:
    """A queue whose experiments change at each listing after the first."""

    steps: list[Step]
    workers: int = 1
    experiments: dict[str, Experiment] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)

    def list_experiments(self) -> dict[str, Experiment]:
        if self.calls and self.steps:
            self.steps.pop(0)(self)
        return dict(self.experiments)

    def add(self, combination: Combination) -> None:
        self.calls.append(f"add {combination.name}")
        self.experiments[combination.name] = make_experiment(combination.name, "queued")

    def remove(self, experiment: Experiment) -> None:
        self.calls.append(f"remove {experiment.name}")
        del self.experiments[experiment.name]

    def start_workers(self) -> None:
        self.calls.append("start")

    def count_workers(self) -> int:
        return self.workers

    def wait(self, seconds: float) -> None:
        assert seconds > 0


def make_experiment(name: str, state: State) -> Experiment:
    return Experiment(name, f"rev {name}", "b" * 40, state, {}, {}, {})


def change(name: str, state: State) -> Step:
    def step(queue: ScriptedQueue) -> None:
        queue.experiments[name] = make_experiment(name, state)

    return step


def make_sweep(queue: ScriptedQueue, *names: str) -> Sweep:
    combinations = [Combination(name, (f"x={name}",)) for name in names]
    return Sweep(combinations, cast("Queue", queue))


def test_finished_and_queued_experiments_are_not_queued_again() -> None:
    queue = ScriptedQueue([change("b", "done"), change("c", "done"), change("d", "done")])
    states: dict[str, State] = {"a": "done", "b": "queued", "c": "running", "d": "failed"}
    queue.experiments = {name: make_experiment(name, state) for name, state in states.items()}
    result = make_sweep(queue, "a", "b", "c", "d").run()
    assert sorted(result.done) == ["a", "b", "c", "d"]
    assert queue.calls == ["remove d", "add d", "start"]


def test_finished_sweep_starts_nothing() -> None:
    queue = ScriptedQueue([], experiments={"a": make_experiment("a", "done")})
    assert make_sweep(queue, "a").run().done == ("a",)
    assert queue.calls == []


def test_failed_experiment_does_not_stop_the_sweep() -> None:
    queue = ScriptedQueue([change("a", "running"), change("a", "failed"), change("b", "done")])
    result = make_sweep(queue, "a", "b").run()
    assert (result.done, dict(result.failed)) == (("b",), {"a": []})


def test_experiment_that_runs_without_a_worker_is_queued_again() -> None:
    queue = ScriptedQueue([change("a", "done")], workers=0)
    queue.experiments = {"a": make_experiment("a", "running")}
    sweep = make_sweep(queue, "a")
    assert [each.name for each in sweep.classify(queue.experiments)["new"]] == ["a"]
    assert sweep.run().done == ("a",)
    assert queue.calls == ["remove a", "add a", "start"]


def test_workers_that_have_stopped_raise() -> None:
    queue = ScriptedQueue([], workers=0)
    with pytest.raises(QueueError, match="resume"):
        make_sweep(queue, "a").run()
    assert queue.calls == ["add a", "start", "start"]
