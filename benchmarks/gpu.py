"""Measure the training on a GPU: ``make bench BENCH=gpu ARGS="--cifar ARRAYS"``.

It prints each figure as soon as it is measured:

- ``experiment=cifar10_fast`` with nine epochs at full size, after a warm-up: seconds from arrays on disk to the trained
  network, with a validation after each epoch, and the accuracy on the test images; the goal is 94.0% on the original images in
  at most 10 s on an H100 or H200;
- whether two trainings with the same seed end with the same bytes;
- the copies between the computer's memory and the GPU in an epoch, which must not rise with the number of steps;
- the training loop and a bare loop of forward, backward and step;
- images per second in each precision.

ARRAYS is a ``data/transformed`` of CIFAR-10, or of images of the same shape. Without a GPU, the CPU is measured, except for the
copies and fp16; ``--limit 600`` uses some of the images, to try the script.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from training import compare_loops, compose, images_per_second, print_runs, train
from visiongate.records.splits import SPLITS
from visiongate.training.hardware import DTYPES, choose_hardware, reproducible
from visiongate.training.task import prepare_task
from visiongate.training.trainer import Trainer

RECIPE = "experiment=cifar10_fast"
# All images at one size, so that all epochs cost the same.
WHOLE = ("training.progressive.size=null", "training.skip_easy=0")
# The recipe is made for a CPU. airbench94_muon.py takes eight epochs of all 50,000 images at full size to the goal.
GOAL_RECIPE = (RECIPE, *WHOLE, "training.epochs=9")
GOAL_ACCURACY, GOAL_SECONDS = 0.94, 10


def main() -> None:
    """Measure and print the figures."""
    parser = argparse.ArgumentParser(description="Measure how fast training is on a GPU.")
    parser.add_argument("--cifar", type=Path, required=True, help="pixel arrays, 32×32 in color")
    parser.add_argument("--limit", type=int, help="images of each split; default: all")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    started = time.perf_counter()
    describe_machine()
    with tempfile.TemporaryDirectory() as folder:
        arrays = options.cifar if options.limit is None else take(options.cifar, options.limit, Path(folder))
        measure_recipe(arrays, options.seeds)
        count_copies(arrays)
        compare_loops(arrays, RECIPE, *WHOLE)
        measure_precisions(arrays)
    print(f"{time.perf_counter() - started:.0f} s in all")


def describe_machine() -> None:
    """Print the device and the precision that the settings choose."""
    hardware = choose_hardware("auto", "auto")
    name = f"{torch.get_num_threads()} threads"
    if hardware.device.type == "cuda":
        major, minor = torch.cuda.get_device_capability()
        name = f"{torch.cuda.get_device_name()}, compute capability {major}.{minor}"
    print(f"{hardware.device}: {name}; {hardware.precision}, torch {torch.__version__}")
    if hardware.device.type == "cpu":
        print("There is no GPU: the figures below are the CPU's.", flush=True)


def take(arrays: Path, limit: int, folder: Path) -> Path:
    """Copy evenly spaced images of each split to a folder, and return it."""
    shutil.copy(arrays / "transform.json", folder)
    for name in (f"{split}{suffix}.npy" for split in SPLITS for suffix in ("", "_labels")):
        values = np.load(arrays / name, mmap_mode="r")
        np.save(folder / name, values[:: max(len(values) // limit, 1)][:limit])
    return folder


def measure_recipe(arrays: Path, seeds: int) -> None:
    """Train with several seeds after a warm-up, and with the first seed again."""
    # The first training on a GPU loads its libraries; a training learns nothing from another.
    print(f"warm-up: {train(compose(RECIPE, 'training.epochs=1'), arrays).seconds:.1f} s", flush=True)
    runs = [train(compose(*GOAL_RECIPE, f"training.seed={seed}"), arrays) for seed in range(seeds)]
    print_runs("CIFAR-10", " ".join(GOAL_RECIPE), runs)
    print(f"goal: {GOAL_ACCURACY:.1%} on the original images in at most {GOAL_SECONDS} s on an H100 or H200")
    again = train(compose(*GOAL_RECIPE, "training.seed=0"), arrays)
    same = "the same bytes" if again.weights == runs[0].weights else "DIFFERENT BYTES"
    print(f"weights of two trainings with seed 0: {same}", flush=True)


def count_copies(arrays: Path) -> None:
    """Print where the images are, and the copies of an epoch between the computer's memory and the GPU."""
    settings = compose(RECIPE)
    with reproducible(0):
        task = prepare_task(arrays, settings.network, settings.training)
        trainer = Trainer(task, settings.network, settings.training)
        megabytes = task.train.images.nbytes / 1e6
        print(f"training images: {megabytes:.0f} MB on {task.train.images.device}")
        if task.hardware.device.type != "cuda":
            print("copies in an epoch: not counted, because there is no NVIDIA GPU")
            return
        trainer.train_epoch(1, lambda _: None)
        steps: list[int] = []
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
            trainer.train_epoch(2, steps.append)
    copies = Counter(event.name.split(" (")[0] for event in profiler.events() or ())
    print(
        f"copies in an epoch of {len(steps)} steps: {copies['Memcpy HtoD']} to the GPU, {copies['Memcpy DtoH']} from it; "
        f"at most {torch.cuda.max_memory_allocated() / 1e6:,.0f} MB of its memory in use",
        flush=True,
    )


def measure_precisions(arrays: Path) -> None:
    """Print the images per second of the training loop in each precision."""
    for precision in DTYPES:
        settings = compose(RECIPE, *WHOLE, f"training.precision={precision}")
        with reproducible(0):
            task = prepare_task(arrays, settings.network, settings.training)
            if precision == "fp16" and task.hardware.device.type == "cpu":
                print("fp16: not measured, because few CPUs compute it natively")
                continue
            trainer = Trainer(task, settings.network, settings.training)
            speed = images_per_second(lambda: trainer.train_epoch(1, lambda _: None), task)  # noqa: B023 - called at once
        print(f"{precision}: {speed:,.0f} images/s", flush=True)


if __name__ == "__main__":
    main()
