"""Run another project's training script on our pixel arrays; `benchmarks/training.py` calls this.

The script runs unchanged from its checkout, on data in its own format. airbench is written for a GPU; on a CPU it gets bfloat16
instead of half, no compilation, and a clock instead of CUDA events. The last line of the output is JSON: accuracy, seconds and
other numbers.
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

# The code of unsigned bytes, to which the number of dimensions is added.
IDX_TYPE = 0x0800


def run_airbench(checkout: Path, arrays: Path) -> dict[str, float]:
    """Run airbench94_muon.py once, on a CPU in bf16.

    Returns:
        ``accuracy`` without and ``accuracy_tta`` with test-time augmentation, and ``seconds`` by the script's own clock:
        training and the augmented test, without the tests after each epoch.
    """
    script = checkout / "airbench94_muon.py"
    import_torchvision()
    clock = _replace_gpu_by_cpu()
    with _folder():
        _write_cifar(arrays, Path("cifar10"))
        sys.argv = [str(script)]
        peer: dict[str, Any] = runpy.run_path(str(script), run_name="peer")
        model = peer["CifarNet"]().to(memory_format=torch.channels_last)
        accuracy_tta = peer["main"](0, model)
        accuracy = peer["evaluate"](model, peer["CifarLoader"]("cifar10", train=False, batch_size=2000), 0)
    return {"accuracy": accuracy, "accuracy_tta": accuracy_tta, "seconds": clock()}


def _replace_gpu_by_cpu() -> Any:  # noqa: ANN401 - a function
    """Replace the functions of torch that need a GPU; return a function for the seconds between events."""
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
        ``accuracy``, ``seconds`` until the goal, with the script's tests after each epoch, and ``epochs``.
    """
    script = checkout / "mnist/main.py"
    import_torchvision()
    with _folder() as folder:
        _write_mnist(arrays, folder / "data/MNIST/raw")
        (folder / "run").mkdir()
        # The script reads ../data.
        os.chdir(folder / "run")
        sys.argv = [str(script), "--epochs", str(epochs), "--log-interval", "1000000"]
        reader = _AccuracyReader(goal)
        with contextlib.redirect_stdout(reader), contextlib.suppress(_ReachedError):
            runpy.run_path(str(script), run_name="__main__")
    return {"accuracy": reader.accuracy, "seconds": reader.seconds, "epochs": reader.epochs}


class _ReachedError(Exception):
    """The goal is reached."""


class _AccuracyReader(io.TextIOBase):
    """Reads the accuracy in the script's output."""

    def __init__(self, goal: float) -> None:
        self._goal, self._started = goal, time.perf_counter()
        self.accuracy, self.seconds, self.epochs = 0.0, 0.0, 0

    def write(self, text: str) -> int:
        match = re.search(r"Accuracy: (\d+)/(\d+)", text)
        if match:
            self.accuracy = int(match[1]) / int(match[2])
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
    paths = Path(checkout_path).resolve(), Path(arrays_path).resolve()
    result = (
        run_airbench(*paths)
        if peer_name == "airbench"
        else run_mnist_example(*paths, int(numbers[0]), float(numbers[1]))
    )
    print(json.dumps(result))
