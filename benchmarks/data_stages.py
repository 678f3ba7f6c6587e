"""From an archive to pixel arrays: the four data stages, one process each, against the loop that a user would write instead.

The loop opens each image with Pillow, converts and resizes it, and stacks the results: no validation, no quarantine, no
duplicate is looked for, and nothing is split. `benchmarks/data.py` calls this.
"""

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("ingestion", "validation", "preparation", "transformation")
CLASSES = 10


@dataclass(frozen=True, slots=True)
class Cost:
    """What a process took."""

    seconds: float
    peak: float  # MB of memory


def measure_stages(overrides: list[str]) -> dict[str, Cost]:
    """Run the data stages in a temporary folder.

    Args:
        overrides: Hydra's, such as ``dataset=mnist``.

    Returns:
        What each stage took, by its name.
    """
    with tempfile.TemporaryDirectory(prefix="visiongate-") as name:
        folder = Path(name)
        shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(ROOT / "conf", folder / "conf")
        run_process(folder, "-m", "visiongate.settings.composition", *overrides)
        return {stage: run_process(folder, "src/run.py", stage) for stage in STAGES}


def measure_loop(archive: Path, size: int, mode: str) -> Cost:
    """Run the loop over a zip of images, in a process of its own."""
    return run_process(ROOT, __file__, str(archive), str(size), mode)


def run_process(folder: Path, *arguments: str) -> Cost:
    """Run Python with these arguments in a folder; measure it whole, its start included.

    Raises:
        RuntimeError: It failed.
    """
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": "src"},
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(arguments)}: exit status {process.returncode}")
    kilobyte = 1 if sys.platform == "darwin" else 1024  # what a unit of ru_maxrss is in bytes
    return Cost(time.perf_counter() - started, usage.ru_maxrss * kilobyte / 1e6)


def write_set(archive: Path, images: int, size: int, mode: str, encoding: str) -> None:
    """Write a zip of ``CLASS/NUMBER`` images, soft random blobs, no two alike.

    Args:
        archive: The zip.
        images: How many.
        size: Both sides, in pixels.
        mode: ``L`` or ``RGB``.
        encoding: ``PNG`` or ``JPEG``.
    """
    with zipfile.ZipFile(archive, "w") as file:
        for index, image in enumerate(_blobs(images, size, mode)):
            buffer = BytesIO()
            image.save(buffer, encoding)
            file.writestr(f"{index % CLASSES}/{index:06d}.{encoding.lower()}", buffer.getvalue())


def _blobs(images: int, size: int, mode: str) -> Iterator[Image.Image]:
    generator = np.random.default_rng(0)
    shape = (6, 6) if mode == "L" else (6, 6, 3)
    for _ in range(images):
        coarse = Image.fromarray(generator.integers(0, 256, shape, dtype=np.uint8))
        yield coarse.resize((size, size), Image.Resampling.BICUBIC)


def _loop(archive: Path, size: int, mode: str) -> None:
    arrays = []
    with zipfile.ZipFile(archive) as file:
        names = [name for name in file.namelist() if not name.endswith("/")]
        random.Random(0).shuffle(names)  # noqa: S311 - as a user shuffles before splitting
        for name in names:
            image = Image.open(BytesIO(file.read(name))).convert(mode).resize((size, size))
            arrays.append(np.asarray(image))
    with tempfile.NamedTemporaryFile(suffix=".npy") as target:
        np.save(target, np.stack(arrays))


if __name__ == "__main__":
    _loop(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
