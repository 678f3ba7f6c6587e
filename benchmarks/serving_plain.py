"""Decode images and call ONNX Runtime, without a service; `benchmarks/serving.py` starts it as a process of its own.

    python benchmarks/serving_plain.py ARRANGEMENT FOLDER MODEL SECONDS

Prints the median milliseconds of an image for ``loop``, and images per second for ``cores`` and ``batches``.
"""

import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path

import numpy as np
import onnxruntime

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from visiongate.cores import usable_cores
from visiongate.models.model_input import to_input
from visiongate.models.predictor import Predictor, open_predictor

BATCH = 16
OUTPUTS = ["probabilities"]


def loop(model: Path, photos: list[bytes], seconds: float) -> float:
    """Decode and predict one image after the other, with a session of all cores."""
    predictor = open_predictor(model)
    taken = []
    for photo in until(seconds, photos):
        start = time.perf_counter()
        predictor.session.run(OUTPUTS, {"images": to_input(photo, predictor.contract)[None]})
        taken.append(time.perf_counter() - start)
    # The first ones warm up.
    return 1000 * statistics.median(taken[len(taken) // 5 :])


def cores(model: Path, photos: list[bytes], seconds: float) -> float:
    """Decode and predict one image after the other in each of several threads, with a session of one core."""
    predictor, session = open_predictor(model), open_narrow(model)
    done, lock, images = [], threading.Lock(), until(seconds, photos)

    def work() -> None:
        while True:
            with lock:
                photo = next(images, None)
            if photo is None:
                return
            session.run(OUTPUTS, {"images": to_input(photo, predictor.contract)[None]})
            done.append(time.perf_counter())

    threads = [threading.Thread(target=work) for _ in range(usable_cores())]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return rate(done)


def batches(model: Path, photos: list[bytes], seconds: float) -> float:
    """Decode a batch in threads while a session of all cores predicts the last one."""
    predictor = open_predictor(model, shares_cores=True)
    done, images = [], until(seconds, photos)
    with ThreadPoolExecutor(usable_cores()) as pool:
        following = submit(pool, predictor, images)
        while following:
            pixels = np.stack([future.result() for future in following])
            following = submit(pool, predictor, images)
            predictor.session.run(OUTPUTS, {"images": pixels})
            done += [time.perf_counter()] * len(pixels)
    return rate(done)


def submit(pool: ThreadPoolExecutor, predictor: Predictor, images: Iterator[bytes]) -> list:
    """Start to decode a batch."""
    return [
        pool.submit(to_input, photo, predictor.contract)
        for _, photo in zip(range(BATCH), images, strict=False)
    ]


def open_narrow(model: Path) -> onnxruntime.InferenceSession:
    """Load a model for one core."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options)


def until(seconds: float, photos: list[bytes]) -> Iterator[bytes]:
    """Yield photos in turn until a time has passed."""
    end = time.perf_counter() + seconds
    for photo in cycle(photos):
        if time.perf_counter() > end:
            return
        yield photo


def rate(done: list[float]) -> float:
    """Return images per second after the first fifth, from the times at which they were done."""
    done = sorted(done)[len(done) // 5 :]
    return (len(done) - 1) / (done[-1] - done[0])


ARRANGEMENTS: dict[str, Callable[[Path, list[bytes], float], float]] = {
    "loop": loop,
    "cores": cores,
    "batches": batches,
}

if __name__ == "__main__":
    name, folder, file, duration = sys.argv[1:]
    encoded = [path.read_bytes() for path in sorted(Path(folder).iterdir())]
    print(ARRANGEMENTS[name](Path(file), encoded, float(duration)))
