"""Pairs of close hashes equal those of a full comparison, in bounded memory."""

import time
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from visiongate.preparation import hamming
from visiongate.preparation.hamming import MAX_PAIRS, Hashes, Mask, Part, close_pairs, plan

RANDOM = np.random.default_rng(0)


def uniform(count: int) -> Hashes:
    return RANDOM.integers(0, 2**64, count, dtype=np.uint64)


def flip(hashes: Hashes, bits: int) -> Hashes:
    """Flip some random bits of each hash."""
    places = RANDOM.permuted(np.tile(np.arange(64, dtype=np.uint64), (len(hashes), 1)), axis=1)[:, :bits]
    one: Hashes = np.bitwise_xor.reduce(np.uint64(1) << places, axis=1) if bits else np.zeros_like(hashes)
    return hashes ^ one


def found(hashes: Hashes, distance: int) -> list[tuple[int, int]]:
    """Return all pairs, smaller index first."""
    pairs = close_pairs(hashes, distance)
    return sorted(
        (min(pair), max(pair))
        for chunk in pairs
        for pair in zip(*(side.tolist() for side in chunk), strict=True)
    )


def expected(hashes: Hashes, distance: int) -> list[tuple[int, int]]:
    close = np.triu(np.bitwise_count(hashes[:, None] ^ hashes) <= distance, 1)
    return [(int(one), int(other)) for one, other in zip(*np.nonzero(close), strict=True)]


def clustered(count: int) -> Hashes:
    """Return hashes with neighbors at each distance from 0 to 17."""
    seeds = uniform(count // 18)
    return np.concatenate([flip(seeds, bits) for bits in range(18)])


def skewed(count: int) -> Hashes:
    """Return hashes that agree in most bits, as those of similar images do."""
    return uniform(count) & np.uint64(0x0000_1100_0F00_8421)


def in_one_part(count: int) -> Hashes:
    """Return hashes that differ only in a run of bits."""
    return RANDOM.integers(0, 2**16, count, dtype=np.uint64)


@pytest.mark.parametrize("distance", [0, 1, 3, 4, 8, 11])
@pytest.mark.parametrize("make", [uniform, clustered, skewed, in_one_part])
@pytest.mark.parametrize("scan", [False, True])
def test_each_pair_is_found_once(
    distance: int,
    make: Callable[[int], Hashes],
    scan: bool,  # noqa: FBT001 - a parameter
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hashes = make(360)
    wanted = expected(hashes, distance)
    indexed = cheapest_index(hashes, distance)
    monkeypatch.setattr(hamming, "plan", lambda *_: None if scan else indexed)
    assert found(hashes, distance) == wanted


def cheapest_index(hashes: Hashes, distance: int) -> list[Part] | None:
    """Return the plan for so many hashes that a full scan is never cheapest."""
    return plan(np.concatenate([hashes, uniform(60_000)]), distance)


def test_the_bound_holds_for_every_division() -> None:
    hashes = clustered(720)
    for distance in (0, 3, 6):
        for count in range(2, 9):
            parts = hamming._divide(list(range(64)), distance, count)  # noqa: SLF001 - each division, whichever is cheapest
            assert sum(int(part.mask) for part in parts) <= 2**64 - 1
            pairs = {
                (min(pair), max(pair))
                for part in parts
                for chunk in hamming._join(hashes, part)  # noqa: SLF001 - as above
                for pair in zip(*(side.tolist() for side in chunk), strict=True)
            }
            assert pairs >= set(expected(hashes, distance))


@pytest.mark.parametrize("count", [0, 1, 2])
def test_very_few_hashes(count: int) -> None:
    assert found(np.zeros(count, dtype=np.uint64), 4) == [(0, 1)][: count - 1 if count else 0]


def test_sixty_thousand_hashes_are_not_all_compared() -> None:
    hashes = uniform(60_000)
    parts = plan(hashes, 8)
    assert parts is not None
    looked_at = sum(len(one) for part in parts for one, _ in hamming._join(hashes, part))  # noqa: SLF001 - counted
    assert looked_at < len(hashes) ** 2 / 2 / 100


def test_hashes_that_agree_are_scanned_rather_than_indexed() -> None:
    assert plan(np.zeros(5000, dtype=np.uint64), 4) is None


def test_many_close_pairs_are_settled_together() -> None:
    asked = []

    def settle(rows: slice, columns: slice, close: Mask) -> Mask:
        asked.append((rows.start, columns.start, np.count_nonzero(close)))
        return close & (rows.start == columns.start == 2048)

    hashes = np.zeros(2060, dtype=np.uint64)
    yielded = [pair for one, other in close_pairs(hashes, 0, settle) for pair in zip(one, other, strict=True)]
    assert [place for *place, _ in asked] == [
        [0, 0],
        [0, 1024],
        [0, 2048],
        [1024, 1024],
        [1024, 2048],
        [2048, 2048],
    ]
    assert sum(count for *_, count in asked) == 2060 * 2059 // 2
    assert len(yielded) == 12 * 11 // 2


def test_few_close_pairs_are_yielded_without_settling() -> None:
    hashes = np.arange(3000, dtype=np.uint64) * np.uint64(0x1111)
    hashes[7] = hashes[2999]
    pairs = list(close_pairs(hashes, 0, lambda *_: pytest.fail("asked")))
    assert [(one.tolist(), other.tolist()) for one, other in pairs] == [([7], [2999])]


def test_memory_does_not_grow_with_the_pairs() -> None:
    part = Part(np.uint64(0xFF), 1)
    hashes = np.zeros(4000, dtype=np.uint64)
    tracemalloc.start()
    pairs = [len(one) for one, _ in hamming._join(hashes, part)]  # noqa: SLF001 - the worst case, which no plan takes
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(pairs) == 4000 * 3999 // 2
    assert max(pairs) <= MAX_PAIRS + 4000
    # The 8 million pairs would take 128 MB.
    assert peak < 80 * (MAX_PAIRS + 4000)


def test_time_grows_slower_than_the_square() -> None:
    def seconds(count: int) -> float:
        hashes = uniform(count)
        start = time.perf_counter()
        assert sum(len(one) for one, _ in close_pairs(hashes, 4)) < 10
        return time.perf_counter() - start

    seconds(1000)
    # Quadratic time would take 64 times as long for eight times the hashes.
    assert seconds(160_000) < 16 * max(seconds(20_000), 0.05)
