"""Images that arrive one by one are decoded and predicted in batches, without waiting for one to fill."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import pytest

from visiongate.serving.versions.batching import BATCH_SECONDS, Arrangement, Batcher

if TYPE_CHECKING:
    from visiongate.models.classifier import Classifier

Result = TypeVar("Result")
PIXELS = np.zeros((2, 2, 1), np.uint8)


class Recording:
    """Stands for a classifier; records its batches, and waits in each until it may go on."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def run(self, images: np.ndarray, _: list[str]) -> dict[str, np.ndarray]:
        self.batches.append(len(images))
        self.may_go_on.wait(10)
        return {"probabilities": images[:, :1, 0, 0].astype(np.float32)}

    def answer(self, outputs: dict[str, np.ndarray], _: list[str]) -> list[float]:
        return [float(value) for value in outputs["probabilities"][:, 0]]


class Two:
    """A batcher with a model for each of the two situations."""

    def __init__(self, runners: int, max_batch: int, *, is_alone: bool) -> None:
        self.alone, self.busy = Recording(), Recording()
        self.pool = ThreadPoolExecutor(runners)
        arrangement = Arrangement(cast("Classifier", self.alone), cast("Classifier", self.busy), max_batch)
        self.batcher = Batcher(arrangement, self.pool, runners, lambda: is_alone)

    async def infer(self, number: int) -> float:
        inference = await self.batcher.infer(lambda: PIXELS + np.uint8(number))
        return cast("list[float]", inference.answers)[inference.row]

    async def started(self) -> None:
        """Wait until the first batch runs."""
        while not self.busy.batches and not self.alone.batches:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


def run(two: Two, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    with two.pool:
        return asyncio.run(asyncio.wait_for(work(), 10))


@pytest.mark.parametrize(("is_alone", "expected"), [(True, ([1], [])), (False, ([], [1]))])
def test_all_cores_are_for_an_image_that_is_alone(is_alone: bool, expected: tuple[list[int], ...]) -> None:  # noqa: FBT001
    two = Two(2, 4, is_alone=is_alone)
    assert run(two, lambda: two.infer(3)) == 3
    assert (two.alone.batches, two.busy.batches) == expected


def test_what_waits_when_a_runner_becomes_free_is_one_batch() -> None:
    two = Two(1, 4, is_alone=False)
    two.busy.may_go_on.clear()

    async def send() -> list[float]:
        first = asyncio.create_task(two.infer(0))
        await two.started()
        others = [asyncio.create_task(two.infer(number)) for number in range(1, 7)]
        await asyncio.sleep(0)
        assert len(two.batcher) == 6
        two.busy.may_go_on.set()
        return await asyncio.gather(first, *others)

    assert run(two, send) == [0, 1, 2, 3, 4, 5, 6]
    assert two.busy.batches == [1, 4, 2]


def test_an_image_that_cannot_be_decoded_fails_alone() -> None:
    two = Two(1, 4, is_alone=False)

    def fail() -> np.ndarray:
        raise ValueError("no image")

    async def send() -> list[object]:
        first = asyncio.create_task(two.infer(0))
        bad = [asyncio.create_task(two.batcher.infer(fail)) for _ in range(2)]
        return await asyncio.gather(first, *bad, two.infer(1), return_exceptions=True)

    first, *failed, last = run(two, send)
    assert (first, last) == (0, 1)
    assert [str(error) for error in failed] == ["no image"] * 2


def test_a_model_that_fails_fails_its_batch_and_goes_on() -> None:
    two = Two(1, 4, is_alone=False)
    answer = two.busy.answer

    async def send() -> float:
        two.busy.answer = lambda *_: 1 // 0  # type: ignore[method-assign, assignment, return-value]
        with pytest.raises(ZeroDivisionError):
            await two.infer(0)
        two.busy.answer = answer  # type: ignore[method-assign]
        return await two.infer(5)

    assert run(two, send) == 5


def test_a_slow_image_does_not_hold_up_those_behind_it() -> None:
    two = Two(1, 4, is_alone=False)
    two.busy.may_go_on.clear()

    def decode_slowly() -> np.ndarray:
        time.sleep(2 * BATCH_SECONDS)
        return PIXELS

    async def send() -> None:
        first = asyncio.create_task(two.infer(0))
        await two.started()
        slow = asyncio.create_task(two.batcher.infer(decode_slowly))
        others = [asyncio.create_task(two.infer(number)) for number in (1, 2)]
        await asyncio.sleep(0)
        two.busy.may_go_on.set()
        await asyncio.gather(first, slow, *others)

    run(two, send)
    assert two.busy.batches == [1, 1, 2]


def test_an_image_whose_caller_left_is_not_decoded() -> None:
    two = Two(1, 4, is_alone=False)
    two.busy.may_go_on.clear()
    decoded: list[int] = []

    def decode() -> np.ndarray:
        decoded.append(1)
        return PIXELS

    async def send() -> None:
        first = asyncio.create_task(two.infer(0))
        await two.started()
        left = asyncio.create_task(two.batcher.infer(decode))
        await asyncio.sleep(0)
        left.cancel()
        await asyncio.gather(left, return_exceptions=True)
        two.busy.may_go_on.set()
        await first
        await two.infer(1)

    run(two, send)
    assert decoded == []
