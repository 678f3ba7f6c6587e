"""Predict images that arrive one by one, without waiting for a batch to fill.

Whatever waits when a runner becomes free is one batch. Batches save the hand-over between threads for small models; a large
network is not faster on them, because one image fills a core. A model is loaded twice: an image that is alone is predicted with
all cores, and when several wait, each runner has one core, which is the faster way for all of them together. The outputs are
equal to the bit. docs/benchmarks.md has the measurements.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from visiongate.images.pixels import Pixels
from visiongate.models.classifier import Answers, Classifier
from visiongate.models.predictor import Outputs


@dataclass(frozen=True, slots=True)
class Inference:
    """What a model says about one image.

    Attributes:
        answers: Of the batch.
        outputs: Of the batch, by name.
        row: The image's place in the batch.
        wait_seconds: From the arrival to the start of the batch.
        inference_seconds: Of the batch.
    """

    answers: Answers
    outputs: Outputs
    row: int
    wait_seconds: float
    inference_seconds: float

    @property
    def batch_size(self) -> int:
        """Images in the batch."""
        return len(self.answers.predicted)

    def output(self, name: str) -> npt.NDArray[np.float32]:
        """Return an output for this image alone, with a leading dimension of 1."""
        return self.outputs[name][self.row : self.row + 1]


@dataclass(frozen=True, slots=True)
class Arrangement:
    """A model for the two situations.

    Attributes:
        alone: With a thread per core.
        busy: With a single thread.
        max_batch: Images per call.
    """

    alone: Classifier
    busy: Classifier
    max_batch: int


@dataclass(slots=True)
class _Waiting:
    pixels: Pixels
    further: Sequence[str]
    arrived: float
    result: asyncio.Future[Inference] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Batcher:
    """The queue of a model. Its methods are called in the event loop.

    Args:
        arrangement: The model.
        executor: Its threads run the model.
        runners: Batches at a time.
        is_alone: Whether the service has a single request.
    """

    def __init__(
        self, arrangement: Arrangement, executor: Executor, runners: int, is_alone: Callable[[], bool]
    ) -> None:
        self._arrangement, self._executor, self._is_alone = arrangement, executor, is_alone
        self._runners = self._free = runners
        self._waiting: deque[_Waiting] = deque()

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
            self._free -= 1
            self._run_next()
        return await waiting.result

    def _run_next(self) -> None:
        """Start the next batch of a runner, which becomes free if no image waits."""
        batch = self._take()
        if not batch:
            self._free += 1
            return
        is_only = self._free == self._runners - 1 and not self._waiting and len(batch) == 1
        alone = is_only and self._is_alone()
        classifier = self._arrangement.alone if alone else self._arrangement.busy
        loop, start = asyncio.get_running_loop(), time.perf_counter()

        def work() -> None:
            try:
                result: tuple[Answers, Outputs] | Exception = _predict(classifier, batch)
            except Exception as error:  # noqa: BLE001 - it is raised where the callers wait
                result = error
            # One hand-over for the whole batch.
            loop.call_soon_threadsafe(self._finish, batch, result, start)

        self._executor.submit(work)

    def _take(self) -> list[_Waiting]:
        """Return this runner's share of the images; those whose callers have left are dropped."""
        share = -(-len(self._waiting) // (self._free + 1))
        batch: list[_Waiting] = []
        while self._waiting and len(batch) < min(share, self._arrangement.max_batch):
            waiting = self._waiting.popleft()
            if not waiting.result.done():
                batch.append(waiting)
        return batch

    def _finish(
        self, batch: Sequence[_Waiting], result: tuple[Answers, Outputs] | Exception, start: float
    ) -> None:
        seconds = time.perf_counter() - start
        for row, each in enumerate(batch):
            if each.result.done():
                continue
            if isinstance(result, Exception):
                each.result.set_exception(result)
            else:
                each.result.set_result(Inference(*result, row, start - each.arrived, seconds))
        self._run_next()


def _predict(classifier: Classifier, batch: Sequence[_Waiting]) -> tuple[Answers, Outputs]:
    further = {name for each in batch for name in each.further}
    outputs = classifier.run(np.stack([each.pixels for each in batch]), sorted(further))
    return classifier.answer(outputs, ["the image"] * len(batch)), outputs
