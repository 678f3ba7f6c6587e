"""Apply a function to many items in threads, in order, with few items in memory."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from visiongate.cores import usable_cores

Item = TypeVar("Item")
Result = TypeVar("Result")

# Threads receive items in batches, because submitting one item costs about as much as decoding a tiny image.
BATCH_ITEMS = 64
BATCH_BYTES = 2**20
# With smaller items on average, threads lose more time to the global lock than they gain.
TINY_BYTES = 4096


def map_in_order(
    function: Callable[[Item], Result], items: Iterable[Item], size_of: Callable[[Item], int]
) -> Iterator[Result]:
    """Apply a function that releases the global lock, in one thread per core.

    Args:
        function: Applied to each item. Batches of tiny items run in the calling thread.
        items: Read as needed. At most two batches per core are in memory.
        size_of: Returns an item's size in bytes.

    Yields:
        The results in the items' order. An exception is raised at its item's position, so it is always the first one.
    """
    cores = usable_cores()
    pending: deque[Future[list[Result]]] = deque()
    with ThreadPoolExecutor(cores) as pool:
        try:
            for batch, weight in _batch(items, size_of):
                tiny = weight < TINY_BYTES * len(batch)
                while pending and (tiny or len(pending) == 2 * cores):
                    yield from pending.popleft().result()
                if tiny:
                    yield from _map(function, batch)
                else:
                    pending.append(pool.submit(_map, function, batch))
            while pending:
                yield from pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def _map(function: Callable[[Item], Result], batch: list[Item]) -> list[Result]:
    return [function(item) for item in batch]


def _batch(items: Iterable[Item], size_of: Callable[[Item], int]) -> Iterator[tuple[list[Item], int]]:
    """Yield batches with their sizes in bytes."""
    batch: list[Item] = []
    weight = 0
    for item in items:
        batch.append(item)
        weight += size_of(item)
        if len(batch) == BATCH_ITEMS or weight >= BATCH_BYTES:
            yield batch, weight
            batch, weight = [], 0
    if batch:
        yield batch, weight
