"""Threads: results keep the order, few items are in memory, and the first error is raised."""

import threading
import time
from collections.abc import Iterator

import pytest

from visiongate.cores import usable_cores
from visiongate.images.parallel import BATCH_BYTES, BATCH_ITEMS, TINY_BYTES, map_in_order

TINY, MEDIUM, LARGE = 1, TINY_BYTES, BATCH_BYTES


def wait_a_little(item: tuple[int, int]) -> int:
    time.sleep((item[0] * 7 % 5) / 5000)
    return item[0]


@pytest.mark.parametrize(
    "weights", [[TINY], [MEDIUM], [LARGE], [TINY] * BATCH_ITEMS + [MEDIUM] * BATCH_ITEMS, []]
)
def test_results_are_in_order(weights: list[int]) -> None:
    items = [(index, weight) for index, weight in enumerate(weights * (400 // max(1, len(weights))))]
    assert list(map_in_order(wait_a_little, items, lambda item: item[1])) == [index for index, _ in items]


def test_few_items_are_in_memory() -> None:
    read = 0

    def items() -> Iterator[int]:
        nonlocal read
        while read < 1000:
            yield read
            read += 1

    for done, _ in enumerate(map_in_order(lambda item: item, items(), lambda _: LARGE)):
        assert read - done <= 2 * usable_cores() + 1


def test_tiny_items_stay_in_the_calling_thread() -> None:
    def where(_: int) -> threading.Thread:
        return threading.current_thread()

    here = {threading.current_thread()}
    assert set(map_in_order(where, range(200), lambda _: TINY)) == here
    assert not here & set(map_in_order(where, range(200), lambda _: MEDIUM))


@pytest.mark.parametrize("weight", [TINY, MEDIUM, LARGE])
def test_the_first_error_ends_the_work(weight: int) -> None:
    started = []

    def fail(item: int) -> int:
        started.append(item)
        if item >= 150:
            raise ValueError(str(item))
        return item

    results = map_in_order(fail, range(100_000), lambda _: weight)
    with pytest.raises(ValueError, match=r"^150$"):
        list(results)
    assert len(started) < 150 + (2 * usable_cores() + 2) * BATCH_ITEMS
