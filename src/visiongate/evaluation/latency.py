"""How long the exported model takes on this machine's CPU, and how much memory: what alone differs from run to run."""

import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from visiongate.models.predictor import Images, Predictor, open_predictor
from visiongate.settings.evaluation import Evaluation

LATENCY = (
    "latency_p50_ms",
    "latency_p95_ms",
    "latency_batch_p50_ms",
    "latency_batch_p95_ms",
    "throughput_images_per_s",
    "peak_memory_mb",
)

WARM_UP = 5  # calls not counted: the first ones allocate memory and wake the threads
BATCHES_AT_LEAST = 3
BATCHES_SECONDS = 0.25  # after which no further batch is timed: a large network is slow, and varies little
BYTES_PER_UNIT = 1 if sys.platform == "darwin" else 1024  # of the peak that the system tells


def measure_latency(model: Predictor, images: Images, settings: Evaluation) -> dict[str, float]:
    """Time single images and whole batches, warmed up, images in memory; measure the memory of a process for it alone.

    Args:
        model: The model to time.
        images: uint8, N×H×W×C; repeated to fill a batch if they are too few.
        settings: Runs with a single image, and the batch size.

    Returns:
        `LATENCY`: milliseconds for one image and for one batch, median and 95th percentile; the images per second of the median
        batch; and megabytes (10⁶ bytes) that a Python process has used at most which loaded the model and predicted one batch.
    """
    size = settings.batch_size
    batch = np.resize(images[:size], (size, *images.shape[1:]))
    _time(lambda run: model.predict(batch[run % size, None]), WARM_UP)
    single = _time(lambda run: model.predict(batch[run % size, None]), settings.latency_runs)
    model.predict(batch, size)
    whole = _time(lambda _: model.predict(batch, size), settings.latency_runs, BATCHES_SECONDS)
    p50, p95 = np.percentile(single, [50, 95]) * 1000
    batch_p50, batch_p95 = np.percentile(whole, [50, 95]) * 1000
    measured = (p50, p95, batch_p50, batch_p95, size / np.median(whole), _peak_memory(model.source, batch))
    return dict(zip(LATENCY, map(float, measured), strict=True))


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


def _peak_memory(source: Path | bytes, batch: Images) -> float:
    """Return the megabytes of a process of its own, for this one holds much that no server would."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(_predict_and_tell, source, batch).result()


def _predict_and_tell(source: Path | bytes, batch: Images) -> float:
    open_predictor(source).predict(batch, len(batch))
    status = Path("/proc/self/status")
    if status.exists():  # on Linux, what getrusage tells includes the process that started this one
        return int(status.read_text(encoding="ascii").partition("VmHWM:")[2].split()[0]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * BYTES_PER_UNIT / 1e6
