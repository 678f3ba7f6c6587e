"""Work on many items in threads, in order, with few of them in memory."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

BATCH = 64  # items handed to a thread at a time: handing over costs about as much as decoding a tiny image
BATCH_BYTES = 2**20  # a batch that has reached this size is handed over as it is
TINY_BYTES = (
    4096  # where items are smaller on average, threads lose more by taking turns at the lock than they gain
)


def map_in_order(
    work: Callable[[Item], Result], items: Iterable[Item], weigh: Callable[[Item], int]
) -> Iterator[Result]:
    """Apply a function that spends its time outside of Python's global lock, in as many threads as there are cores.

    Args:
        work: What to do with an item. On tiny items most of the time is Python's own: those are done one after the other.
        items: Read as they are needed; at most two batches a core, of `BATCH` items or a little over `BATCH_BYTES`, are
            in memory at a time.
        weigh: An item's size in bytes.

    Yields:
        The results in the items' order. An exception is raised in its item's place, so that of several it is always the first.
    """
    cores = count_cores()
    waiting: deque[Future[list[Result]]] = deque()
    with ThreadPoolExecutor(cores) as pool:
        try:
            for batch, weight in _batch(items, weigh):
                tiny = weight < TINY_BYTES * len(batch)
                while waiting and (tiny or len(waiting) == 2 * cores):
                    yield from waiting.popleft().result()
                if tiny:
                    yield from _work_all(work, batch)
                else:
                    waiting.append(pool.submit(_work_all, work, batch))
            while waiting:
                yield from waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def count_cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _work_all(work: Callable[[Item], Result], batch: list[Item]) -> list[Result]:
    return [work(item) for item in batch]


def _batch(items: Iterable[Item], weigh: Callable[[Item], int]) -> Iterator[tuple[list[Item], int]]:
    """Yield batches with their weights."""
    batch: list[Item] = []
    weight = 0
    for item in items:
        batch.append(item)
        weight += weigh(item)
        if len(batch) == BATCH or weight >= BATCH_BYTES:
            yield batch, weight
            batch, weight = [], 0
    if batch:
        yield batch, weight
