"""Run a peer's training script, from a checkout of it, on pixel arrays of ours; `benchmarks/training.py` calls this.

Nothing of a peer is changed or copied. What it expects of a machine is put before it: its data files in its own format, and for
airbench, written for a GPU, a CPU in its place: bfloat16 for half, no compilation, a clock for CUDA's events. The last line of
output is JSON: accuracy, seconds, and what else the peer tells.
"""

import contextlib
import gzip
import io
import json
import os
import re
import runpy
import struct
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import numpy as np
import torch

from visiongate.images.pixels import load_split
from visiongate.models.torchvision_import import import_torchvision
from visiongate.records.transform import read_transform

IDX_TYPE = 0x0800  # unsigned bytes; the number of dimensions is added


def run_airbench(checkout: Path, arrays: Path) -> dict[str, float]:
    """Run airbench94_muon.py once, on a CPU in bf16.

    Returns:
        ``accuracy`` without and ``accuracy_tta`` with its test-time augmentation; ``seconds`` as it counts them itself:
        training and augmented test, not the looks at the test set after each epoch.
    """
    script = checkout / "airbench94_muon.py"
    import_torchvision()
    clock = _put_cpu_in_place_of_gpu()
    with _folder():
        _write_cifar(arrays, Path("cifar10"))
        sys.argv = [str(script)]
        peer: dict[str, Any] = runpy.run_path(str(script), run_name="peer")
        model = peer["CifarNet"]().to(memory_format=torch.channels_last)
        accuracy_tta = peer["main"](0, model)
        accuracy = peer["evaluate"](model, peer["CifarLoader"]("cifar10", train=False, batch_size=2000), 0)
    return {"accuracy": accuracy, "accuracy_tta": accuracy_tta, "seconds": clock()}


def _put_cpu_in_place_of_gpu() -> Any:  # noqa: ANN401 - a function
    """Let what is said to a GPU be heard by the CPU; return what tells the seconds between its events."""
    seconds = 0.0

    class Event:
        def __init__(self, **_options: bool) -> None:
            self.at = 0.0

        def record(self) -> None:
            self.at = time.perf_counter()

        def elapsed_time(self, other: "Event") -> float:
            nonlocal seconds
            seconds += other.at - self.at
            return 1000 * (other.at - self.at)

    load = torch.load
    torch.cuda.Event = Event
    torch.cuda.synchronize = lambda: None
    torch.compile = lambda function: function
    torch.Tensor.half = torch.Tensor.bfloat16
    torch.nn.Module.half = torch.nn.Module.bfloat16
    torch.load = lambda path, **_options: load(path)
    return lambda: seconds


def _write_cifar(arrays: Path, folder: Path) -> None:
    folder.mkdir()
    classes = read_transform(arrays).classes
    for name, splits in {"train": ("train", "val"), "test": ("test",)}.items():
        images, labels = _join(arrays, splits)
        content = {"images": torch.from_numpy(images), "labels": torch.from_numpy(labels), "classes": classes}
        torch.save(content, folder / f"{name}.pt")


def run_mnist_example(checkout: Path, arrays: Path, epochs: int, goal: float) -> dict[str, float]:
    """Run mnist/main.py until its test accuracy reaches a goal.

    Returns:
        ``accuracy`` reached; ``seconds`` until then, its looks at the test set left in, as it cannot do without; ``epochs``.
    """
    script = checkout / "mnist/main.py"
    import_torchvision()
    with _folder() as folder:
        _write_mnist(arrays, folder / "data/MNIST/raw")
        (folder / "run").mkdir()
        os.chdir(folder / "run")  # it looks for ../data
        sys.argv = [str(script), "--epochs", str(epochs), "--log-interval", "1000000"]
        watch = _Watch(goal)
        with contextlib.redirect_stdout(watch), contextlib.suppress(_ReachedError):
            runpy.run_path(str(script), run_name="__main__")
    return {"accuracy": watch.accuracy, "seconds": watch.seconds, "epochs": watch.epochs}


class _ReachedError(Exception):
    """The goal is reached."""


class _Watch(io.TextIOBase):
    """Reads what the script prints."""

    def __init__(self, goal: float) -> None:
        self._goal, self._started = goal, time.perf_counter()
        self.accuracy, self.seconds, self.epochs = 0.0, 0.0, 0

    def write(self, text: str) -> int:
        found = re.search(r"Accuracy: (\d+)/(\d+)", text)
        if found:
            self.accuracy = int(found[1]) / int(found[2])
            self.seconds = time.perf_counter() - self._started
            self.epochs += 1
            if self.accuracy >= self._goal:
                raise _ReachedError
        return len(text)


def _write_mnist(arrays: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    for name, splits in {"train": ("train", "val"), "t10k": ("test",)}.items():
        images, labels = _join(arrays, splits)
        _write_idx(folder / f"{name}-images-idx3-ubyte", images[..., 0])
        _write_idx(folder / f"{name}-labels-idx1-ubyte", labels.astype(np.uint8))


def _write_idx(path: Path, array: Any) -> None:  # noqa: ANN401 - an array
    header = struct.pack(f">{array.ndim + 1}I", IDX_TYPE + array.ndim, *array.shape)
    path.write_bytes(header + array.tobytes())
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(header + array.tobytes(), 1))


def _join(arrays: Path, splits: tuple[str, ...]) -> tuple[Any, Any]:
    parts = [load_split(arrays, split) for split in splits]
    return np.concatenate([part.images for part in parts]), np.concatenate([part.labels for part in parts])


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        try:
            yield Path(name)
        finally:
            os.chdir(before)


if __name__ == "__main__":
    peer_name, checkout_path, arrays_path, *numbers = sys.argv[1:]
    place = Path(checkout_path).resolve(), Path(arrays_path).resolve()
    told = (
        run_airbench(*place)
        if peer_name == "airbench"
        else run_mnist_example(*place, int(numbers[0]), float(numbers[1]))
    )
    print(json.dumps(told))
