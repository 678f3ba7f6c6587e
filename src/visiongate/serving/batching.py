"""Predict images that arrive one by one in batches, without waiting for a batch to fill.

Whatever waits when a runner becomes free is one batch. A single image therefore never waits for others, and under load the
batches grow by themselves.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from visiongate.images.pixels import Pixels
from visiongate.models.classifier import Answers, Classifier


@dataclass(frozen=True, slots=True)
class Inference:
    """What a model says about one image.

    Attributes:
        answers: Of the batch.
        outputs: Of the batch, by name.
        row: The image's place in the batch.
        size: Images in the batch.
        wait_seconds: From the arrival to the start of the batch.
        inference_seconds: Of the batch.
    """

    answers: Answers
    outputs: dict[str, npt.NDArray[np.float32]]
    row: int
    size: int
    wait_seconds: float
    inference_seconds: float

    def output(self, name: str) -> npt.NDArray[np.float32]:
        """Return an output for this image alone, with a leading dimension of 1."""
        return self.outputs[name][self.row : self.row + 1]


@dataclass(slots=True)
class _Waiting:
    pixels: Pixels
    further: Sequence[str]
    arrived: float
    result: asyncio.Future[Inference] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Batcher:
    """The queue of a model. All methods are called in the event loop.

    Args:
        classifier: The model.
        executor: Its threads run the model.
        runners: Batches at a time.
        max_batch: Images per call of the model.
    """

    def __init__(self, classifier: Classifier, executor: Executor, runners: int, max_batch: int) -> None:
        self._classifier, self._executor = classifier, executor
        self._free, self._max_batch = runners, max_batch
        self._waiting: deque[_Waiting] = deque()
        self._running: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """Return the number of images that wait."""
        return len(self._waiting)

    async def infer(self, pixels: Pixels, further: Sequence[str] = ()) -> Inference:
        """Predict an image. If the caller is canceled while the image waits, the model is not called for it.

        Args:
            pixels: The model's input, uint8 H×W×C.
            further: Outputs besides those of `Classifier.answer`.

        Raises:
            DataError: The outputs of the model are not probabilities.
        """
        waiting = _Waiting(pixels, further, time.perf_counter())
        self._waiting.append(waiting)
        if self._free:
            self._start()
        return await waiting.result

    def _start(self) -> None:
        self._free -= 1
        task = asyncio.create_task(self._run())
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _run(self) -> None:
        """Run batches until no image waits."""
        loop = asyncio.get_running_loop()
        try:
            while batch := self._take():
                start = time.perf_counter()
                try:
                    answers, outputs = await loop.run_in_executor(self._executor, self._predict, batch)
                except Exception as error:  # noqa: BLE001 - whatever happened belongs to the callers
                    _fail(batch, error)
                    continue
                seconds = time.perf_counter() - start
                for row, each in enumerate(batch):
                    if not each.result.done():
                        waited = start - each.arrived
                        each.result.set_result(Inference(answers, outputs, row, len(batch), waited, seconds))
        finally:
            self._free += 1

    def _take(self) -> list[_Waiting]:
        """Return the images to predict now; those whose callers have left are dropped."""
        batch: list[_Waiting] = []
        while self._waiting and len(batch) < self._max_batch:
            waiting = self._waiting.popleft()
            if not waiting.result.done():
                batch.append(waiting)
        return batch

    def _predict(self, batch: Sequence[_Waiting]) -> tuple[Answers, dict[str, npt.NDArray[np.float32]]]:
        further = {name for each in batch for name in each.further}
        outputs = self._classifier.run(np.stack([each.pixels for each in batch]), sorted(further))
        return self._classifier.answer(outputs, ["the image"] * len(batch)), outputs


def _fail(batch: Sequence[_Waiting], error: Exception) -> None:
    for each in batch:
        if not each.result.done():
            each.result.set_exception(error)
