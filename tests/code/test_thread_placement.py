"""The two threads of a team are bound to different cores within a block, and free again after it."""

import os
from collections.abc import Iterator

import pytest
import torch

from visiongate.training import thread_placement
from visiongate.training.hardware import Hardware
from visiongate.training.thread_placement import TEAM, own_cores, run_in_team

AFFINITY = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
CORES = sorted(AFFINITY)[:TEAM]
library = thread_placement._find_library() if CORES else None  # noqa: SLF001
pytestmark = pytest.mark.skipif(len(CORES) < TEAM or library is None, reason="needs two cores and libgomp")


@pytest.fixture(autouse=True)
def _two_cores() -> Iterator[None]:
    """Leave two cores to the current thread, and thus to those that it starts."""
    os.sched_setaffinity(0, CORES)
    yield
    os.sched_setaffinity(0, AFFINITY)


def placement(threads: int) -> list[set[int]]:
    """Return the cores that each thread of a team may use."""
    found: dict[int, set[int]] = {}
    assert library is not None
    run_in_team(library, threads, lambda index: found.update({index: os.sched_getaffinity(0)}))
    return [found[index] for index in range(threads)]


def test_two_threads_on_two_cores_have_a_core_each() -> None:
    with own_cores(TEAM):
        assert placement(TEAM) == [{core} for core in CORES]
    assert placement(TEAM) == [set(CORES)] * TEAM


def test_the_threads_are_free_after_an_error() -> None:
    with pytest.raises(ValueError, match="wrong"), own_cores(TEAM):
        raise ValueError("wrong")
    assert placement(TEAM) == [set(CORES)] * TEAM


@pytest.mark.parametrize("threads", [1, TEAM + 1])
def test_other_numbers_of_threads_are_not_bound(threads: int) -> None:
    with own_cores(threads):
        assert os.sched_getaffinity(0) == set(CORES)


def test_larger_teams_are_not_bound_whose_new_threads_would_share_a_core(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    bound = []
    monkeypatch.setattr(os, "sched_setaffinity", lambda _, cores: bound.append(cores))
    with own_cores(3):
        assert not bound


def test_without_the_library_nothing_is_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread_placement, "LIBRARY", "libmissing.so")
    with own_cores(TEAM):
        assert os.sched_getaffinity(0) == set(CORES)


def test_a_system_that_forbids_binding_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def forbid(_: int, __: object) -> None:
        raise PermissionError

    with monkeypatch.context() as patched:
        patched.setattr(os, "sched_setaffinity", forbid)
        with own_cores(TEAM):
            assert os.sched_getaffinity(0) == set(CORES)
    assert not capfd.readouterr().err


def test_a_training_on_two_threads_has_a_core_for_each() -> None:
    cpu = torch.device("cpu")
    with Hardware(cpu, torch.float32, TEAM).computing():
        assert placement(TEAM) == [{core} for core in CORES]
    with Hardware(cpu, torch.float32, 1).computing():
        assert placement(1) == [set(CORES)]
