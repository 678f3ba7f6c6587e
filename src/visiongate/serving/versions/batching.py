"""Decode and predict images that arrive one by one, without waiting for a batch to fill.

Whatever waits when a runner becomes free is one batch. Batches save calls for small models; a large network is not faster on
them, because one image fills a core. A model is loaded twice: an image that is alone is predicted with all cores, and when
several wait, each runner has one core, which is the faster way for all of them together. The outputs are equal to the bit.

A runner decodes the images of its batch itself, and takes its next batch without the event loop. There are as many threads as
cores, none of which waits for another. docs/benchmarks.md has the measurements.
"""

import asyncio
import threading
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

# A batch takes about this long at most: all of its images wait for the last one.
BATCH_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Inference:
    """What a model says about one image.

    Attributes:
        pixels: The model's input, uint8 H×W×C.
        answers: Of the batch.
        outputs: Of the batch, by name.
        row: The image's place in the batch.
        decode_seconds: Of the image.
        inference_seconds: Of the batch.
    """

    pixels: Pixels
    answers: Answers
    outputs: Outputs
    row: int
    decode_seconds: float
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
    decode: Callable[[], Pixels]
    further: Sequence[str]
    result: asyncio.Future[Inference] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


@dataclass(frozen=True, slots=True)
class _Decoded:
    waiting: _Waiting
    pixels: Pixels
    seconds: float


class Batcher:
    """The queue of a model.

    Args:
        arrangement: The model.
        executor: Its threads decode and run the model.
        runners: Batches at a time.
        is_alone: Whether the service has a single request; called in a thread.
    """

    def __init__(
        self, arrangement: Arrangement, executor: Executor, runners: int, is_alone: Callable[[], bool]
    ) -> None:
        self._arrangement, self._executor, self._is_alone = arrangement, executor, is_alone
        self._runners = self._free = runners
        self._waiting: deque[_Waiting] = deque()
        # Guards the runners and the images.
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Return the number of images that wait."""
        return len(self._waiting)

    async def infer(self, decode: Callable[[], Pixels], further: Sequence[str] = ()) -> Inference:
        """Predict an image. If the caller is canceled while the image waits, it is neither decoded nor predicted.

        Args:
            decode: Returns the model's input, uint8 H×W×C; called in a thread. What it raises is raised here.
            further: Outputs besides those of `Classifier.answer`.

        Raises:
            DataError: The outputs of the model are not probabilities.
        """
        waiting = _Waiting(decode, further)
        with self._lock:
            self._waiting.append(waiting)
            is_free = self._free > 0
            self._free -= is_free
        if is_free:
            self._executor.submit(self._run)
        try:
            return await waiting.result
        except Exception:
            # The traceback leads to frames that refer to `waiting`. If that led back to the error, both would keep the image in
            # memory until they are collected as garbage.
            del waiting.decode, waiting.result
            raise

    def _run(self) -> None:
        """Predict a batch. The next one is a new task, so that the models of a process take turns."""
        batch = self._decode(self._take())
        if batch:
            self._predict(batch)
        with self._lock:
            is_done = not self._waiting
            self._free += is_done
        if not is_done:
            self._executor.submit(self._run)

    def _take(self) -> list[_Waiting]:
        """Return this runner's share of the images; those whose callers have left are dropped."""
        with self._lock:
            share = -(-len(self._waiting) // (self._free + 1))
            batch: list[_Waiting] = []
            while self._waiting and len(batch) < min(share, self._arrangement.max_batch):
                waiting = self._waiting.popleft()
                if not waiting.result.done():
                    batch.append(waiting)
        return batch

    def _decode(self, batch: Sequence[_Waiting]) -> list[_Decoded]:
        """Decode images until that has taken long enough; the others wait for the next batch."""
        decoded, start = [], time.perf_counter()
        for number, waiting in enumerate(batch):
            begun = time.perf_counter()
            if begun - start > BATCH_SECONDS:
                with self._lock:
                    self._waiting.extendleft(reversed(batch[number:]))
                break
            try:
                pixels = waiting.decode()
            except Exception as error:  # noqa: BLE001 - it is raised where the caller waits
                _hand_over([waiting], error)
            else:
                decoded.append(_Decoded(waiting, pixels, time.perf_counter() - begun))
        return decoded

    def _predict(self, batch: Sequence[_Decoded]) -> None:
        classifier, start = self._choose(len(batch)), time.perf_counter()
        waiting = [each.waiting for each in batch]
        try:
            further = {name for each in waiting for name in each.further}
            outputs = classifier.run(np.stack([each.pixels for each in batch]), sorted(further))
            answers = classifier.answer(outputs, ["the image"] * len(batch))
        except Exception as error:  # noqa: BLE001 - it is raised where the callers wait
            _hand_over(waiting, error)
            return
        seconds = time.perf_counter() - start
        _hand_over(
            waiting,
            [
                Inference(each.pixels, answers, outputs, row, each.seconds, seconds)
                for row, each in enumerate(batch)
            ],
        )

    def _choose(self, images: int) -> Classifier:
        with self._lock:
            is_only = images == 1 and self._free == self._runners - 1 and not self._waiting
        return self._arrangement.alone if is_only and self._is_alone() else self._arrangement.busy


def _hand_over(batch: Sequence[_Waiting], results: Sequence[Inference] | Exception) -> None:
    """Continue the callers, all by one call into the event loop."""
    batch[0].result.get_loop().call_soon_threadsafe(_continue, batch, results)


def _continue(batch: Sequence[_Waiting], results: Sequence[Inference] | Exception) -> None:
    for row, waiting in enumerate(batch):
        if waiting.result.done():
            continue
        if isinstance(results, Exception):
            waiting.result.set_exception(results)
        else:
            waiting.result.set_result(results[row])
