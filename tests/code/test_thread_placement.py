"""The threads of a team are bound to different cores within a block, and free again after it."""

import os

import pytest
import torch

from visiongate.training import thread_placement
from visiongate.training.hardware import Hardware
from visiongate.training.thread_placement import own_cores, run_in_team

CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
library = thread_placement._find_library()  # noqa: SLF001
needs_cores = pytest.mark.skipif(len(CORES) < 2 or library is None, reason="needs two cores and libgomp")


def placement(threads: int) -> list[set[int]]:
    """Return the cores that each thread of a team may use."""
    found: dict[int, set[int]] = {}
    assert library is not None
    run_in_team(library, threads, lambda index: found.update({index: os.sched_getaffinity(0)}))
    return [found[index] for index in range(threads)]


@needs_cores
def test_as_many_threads_as_cores_have_a_core_each() -> None:
    with own_cores(len(CORES)):
        assert placement(len(CORES)) == [{core} for core in CORES]
    assert placement(len(CORES)) == [set(CORES)] * len(CORES)


@needs_cores
def test_the_threads_are_free_after_an_error() -> None:
    with pytest.raises(ValueError, match="wrong"), own_cores(len(CORES)):
        raise ValueError("wrong")
    assert placement(len(CORES)) == [set(CORES)] * len(CORES)


@pytest.mark.parametrize("threads", [1, len(CORES) + 1])
def test_other_numbers_of_threads_are_not_bound(threads: int) -> None:
    with own_cores(threads):
        assert sorted(os.sched_getaffinity(0)) == CORES


@needs_cores
def test_without_the_library_nothing_is_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread_placement, "LIBRARY", "libmissing.so")
    with own_cores(len(CORES)):
        assert sorted(os.sched_getaffinity(0)) == CORES


@needs_cores
def test_a_training_that_uses_all_cores_has_one_for_each_thread() -> None:
    cpu = torch.device("cpu")
    with Hardware(cpu, torch.float32, len(CORES)).computing():
        assert placement(len(CORES)) == [{core} for core in CORES]
    with Hardware(cpu, torch.float32, 1).computing():
        assert placement(1) == [set(CORES)]
