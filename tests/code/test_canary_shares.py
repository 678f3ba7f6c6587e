"""Positions of request ids: stable, uniform, and independent from version to version."""

import uuid

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import chisquare

from visiongate.serving.versions.shares import find_position

FIRST, SECOND = "0" * 64, "1" * 64


def _positions(ids: list[str], sha256: str = FIRST) -> npt.NDArray[np.float64]:
    return np.array([find_position(each, sha256) for each in ids])


@pytest.mark.parametrize(
    "ids",
    [
        [uuid.UUID(int=number).hex for number in range(20_000)],
        [f"order-{number}" for number in range(20_000)],
        [str(number) for number in range(20_000)],
    ],
    ids=["uuid", "words", "numbers"],
)
def test_positions_are_uniform_whatever_the_ids_look_like(ids: list[str]) -> None:
    counts, _ = np.histogram(_positions(ids), bins=50, range=(0, 1))

    assert chisquare(counts).pvalue > 1e-4


def test_a_position_is_the_same_in_each_process_and_release() -> None:
    assert find_position("822bd722abb1f005e1f529293dc31508", FIRST) == 0.5587204403150354


def test_the_requests_of_one_canary_are_not_those_of_the_next() -> None:
    ids = [f"client-{number}" for number in range(20_000)]

    both = np.mean((_positions(ids) < 0.1) & (_positions(ids, SECOND) < 0.1))

    assert both == pytest.approx(0.01, abs=0.003)
