"""How long the exported model takes on this machine's CPU: the one thing measured that differs from run to run."""

import time
from collections.abc import Callable

import numpy as np

from visiongate.config import Evaluation
from visiongate.evaluation.served_model import Images, ServedModel

LATENCY = ("latency_p50_ms", "latency_p95_ms", "throughput_images_per_s")

WARM_UP = 5  # calls not counted: the first ones allocate memory and wake the threads
BATCHES_AT_LEAST = 3
BATCHES_SECONDS = 0.25  # after which no further batch is timed: a large network is slow, and varies little


def measure_latency(model: ServedModel, images: Images, settings: Evaluation) -> dict[str, float]:
    """Time single images and whole batches, warmed up, images in memory.

    Args:
        model: The model to time.
        images: uint8, N×H×W×C; repeated to fill a batch if they are too few.
        settings: Runs with a single image, and the batch size.

    Returns:
        `LATENCY`: milliseconds for one image, median and 95th percentile, and the images per second of the median batch.
    """
    size = settings.batch_size
    batch = np.resize(images[:size], (size, *images.shape[1:]))
    _time(lambda run: model.predict(batch[run % size, None]), WARM_UP)
    single = _time(lambda run: model.predict(batch[run % size, None]), settings.latency_runs)
    model.predict(batch, size)
    whole = _time(lambda _: model.predict(batch, size), settings.latency_runs, BATCHES_SECONDS)
    p50, p95 = np.percentile(single, [50, 95]) * 1000
    return dict(zip(LATENCY, (float(p50), float(p95), float(size / np.median(whole))), strict=True))


def _time(call: Callable[[int], object], runs: int, enough: float | None = None) -> list[float]:
    """Return the seconds of each run; with ``enough`` seconds spent, stop early, but not before the third."""
    seconds: list[float] = []
    while len(seconds) < runs:
        start = time.perf_counter()
        call(len(seconds))
        seconds.append(time.perf_counter() - start)
        if enough is not None and sum(seconds) > enough and len(seconds) >= BATCHES_AT_LEAST:
            break
    return seconds
