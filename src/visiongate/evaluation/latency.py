"""Latency, throughput and memory of the exported model on this machine's CPU. They differ from run to run."""

import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from visiongate.models.predictor import Images, Predictor, fit_batch, open_predictor
from visiongate.settings.evaluation import Evaluation

LATENCY = (
    "latency_p50_ms",
    "latency_p95_ms",
    "latency_batch_p50_ms",
    "latency_batch_p95_ms",
    "throughput_images_per_s",
    "peak_memory_mb",
)

# Calls before the measured ones: the first ones allocate memory and start threads.
WARM_UP = 5
# A large network is slow and varies little, so that few runs are enough.
MIN_RUNS, MAX_SINGLE_SECONDS, MAX_BATCH_SECONDS = 3, 3.0, 0.25


def measure_latency(model: Predictor, images: Images, settings: Evaluation) -> dict[str, float]:
    """Measure single images and whole batches, and the peak memory of a process that only predicts.

    Args:
        model: The model.
        images: uint8, N×H×W×C, repeated to fill a batch.
        settings: Number of runs, and the largest batch.

    Returns:
        `LATENCY`: milliseconds per image and per batch, median and 95th percentile; images per second at the median batch; and
        the peak memory, in megabytes (10⁶ bytes), of a process that loads the model and predicts one batch.
    """
    size = fit_batch(images, settings.batch_size)
    batch = np.resize(images[:size], (size, *images.shape[1:]))
    _measure(lambda run: model.predict(batch[run % size, None]), WARM_UP)
    single = _measure(
        lambda run: model.predict(batch[run % size, None]), settings.latency_runs, MAX_SINGLE_SECONDS
    )
    model.predict(batch, size)
    whole = _measure(lambda _: model.predict(batch, size), settings.latency_runs, MAX_BATCH_SECONDS)
    p50, p95 = np.percentile(single, [50, 95]) * 1000
    batch_p50, batch_p95 = np.percentile(whole, [50, 95]) * 1000
    measured = (p50, p95, batch_p50, batch_p95, size / np.median(whole), _peak_memory(model.source, batch))
    return dict(zip(LATENCY, map(float, measured), strict=True))


def _measure(call: Callable[[int], object], runs: int, max_seconds: float = float("inf")) -> list[float]:
    """Return the seconds of each run; stop early after ``max_seconds``, but not before `MIN_RUNS`."""
    seconds: list[float] = []
    while len(seconds) < runs and (sum(seconds) <= max_seconds or len(seconds) < MIN_RUNS):
        start = time.perf_counter()
        call(len(seconds))
        seconds.append(time.perf_counter() - start)
    return seconds


def _peak_memory(source: Path | bytes, batch: Images) -> float:
    """Return the peak memory of a new process, in megabytes: this one holds data that a server does not."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(_predict_and_measure, source, batch).result()


def _predict_and_measure(source: Path | bytes, batch: Images) -> float:
    open_predictor(source).predict(batch, len(batch))
    status = Path("/proc/self/status")
    if status.exists():
        # On Linux, getrusage includes the parent process.
        return int(status.read_text(encoding="ascii").partition("VmHWM:")[2].split()[0]) * 1024 / 1e6
    bytes_per_unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * bytes_per_unit / 1e6
