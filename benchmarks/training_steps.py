"""Time the steps of small trainings as a stage runs them, and as fast as they can be; `training.py` runs this.

It runs in processes of its own, because torch reads how its threads wait for each other when it is imported.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from training import MAX_BUSY, bare_loop, compose
from visiongate.images.pixels import PixelSplit, load_split
from visiongate.records.transform import read_transform
from visiongate.settings.schema import Settings
from visiongate.training.hardware import Hardware, reproducible
from visiongate.training.task import Task, build_task
from visiongate.training.trainer import Trainer

ROUNDS, SECONDS = 15, 2.0
SIDE, IMAGES = 28, 5000
BUSY = (sys.executable, "-S", "-c", "while True: pass")


def main() -> None:
    """Print numbers as JSON: ``floor ARRAYS`` or ``busy ARRAYS``."""
    mode, arrays = sys.argv[1], Path(sys.argv[2])
    with reproducible(0):
        print(json.dumps({"floor": find_floor, "busy": time_beside_others}[mode](arrays)))


def find_floor(arrays: Path) -> dict[str, float]:
    """Return the milliseconds of a step of a bare loop, by precision and threads, on average over `ROUNDS` epochs."""
    settings = compose("dataset=digits")
    task = make_task(arrays, settings)
    loops = {}
    for dtype in (task.hardware.dtype, torch.float32):
        for threads in (1, torch.get_num_threads()):
            hardware = Hardware(task.hardware.device, dtype, threads)
            loops[str(hardware)] = hardware, bare_loop(replace(task, hardware=hardware), settings)
    times: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(ROUNDS):
        for name, (hardware, epoch) in loops.items():
            with hardware.computing():
                times[name].append(time_epoch(epoch, task, settings))
    return {name: sum(each) / len(each) for name, each in times.items()}


def time_beside_others(arrays: Path) -> dict[str, dict[str, float]]:
    """Return the milliseconds of a step alone and beside busy processes, and the threads, of two networks."""
    found = {}
    for recipe in ("dataset=digits", "experiment=mnist_fast"):
        settings = compose(recipe)
        task = make_task(arrays, settings)
        trainer = Trainer(task, settings.network, settings.training)
        times = {"threads": float(task.hardware.threads)}
        for count in range(MAX_BUSY + 1):
            # Processes that start within `computing` would inherit the core that the current thread is bound to.
            with busy_processes(count), task.hardware.computing():
                times[str(count)] = time_steps(
                    partial(trainer.train_epoch, 1, lambda _: None), task, settings
                )
        found[f"{settings.network.name} at {task.train.images.shape[1]} pixels, {task.hardware}"] = times
    return found


def make_task(arrays: Path, settings: Settings) -> Task:
    """Return the task of the digits, or of random images for settings of another data set."""
    transform = read_transform(arrays)
    if settings.dataset.name == "digits":
        splits = load_split(arrays, "train"), load_split(arrays, "val")
        return build_task(transform, splits, settings.network, settings.training)
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (IMAGES, SIDE, SIDE, 1), dtype=np.uint8)
    split = PixelSplit(images, generator.integers(0, len(transform.classes), IMAGES))
    # The choice of threads needs a training of some length.
    training = settings.training.model_copy(update={"epochs": 100})
    return build_task(replace(transform, size=SIDE), (split, split), settings.network, training)


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Keep cores busy within the block, as the processes of another session."""
    processes = [subprocess.Popen(BUSY, start_new_session=True) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def time_steps(epoch: Callable[[], object], task: Task, settings: Settings) -> float:
    """Run epochs for `SECONDS` after a first one, and return the milliseconds of a step, on average."""
    epoch()
    times: list[float] = []
    started = time.perf_counter()
    while time.perf_counter() - started < SECONDS:
        times.append(time_epoch(epoch, task, settings))
    return sum(times) / len(times)


def time_epoch(epoch: Callable[[], object], task: Task, settings: Settings) -> float:
    """Return the milliseconds of a step of an epoch."""
    started = time.perf_counter()
    epoch()
    steps = -(-len(task.train) // settings.network.batch_size)
    return 1e3 * (time.perf_counter() - started) / steps


if __name__ == "__main__":
    main()
