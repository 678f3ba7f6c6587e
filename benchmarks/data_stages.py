"""Measure the four data stages, from an archive to pixel arrays, beside a simple loop. `benchmarks/data.py` calls this.

The loop opens, converts and resizes each image with Pillow and stacks the results. It neither validates nor splits.
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
# Tables that people write, of which the stages need the header.
TABLES = ("data/collected.csv", "data/corrections.csv")


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of a process: seconds, and peak memory in MB."""

    seconds: float
    peak: float


def measure_stages(overrides: list[str]) -> dict[str, Cost]:
    """Run the data stages in a temporary folder.

    Args:
        overrides: Overrides such as ``dataset=mnist``.

    Returns:
        The cost of each stage, by name.
    """
    with tempfile.TemporaryDirectory(prefix="visiongate-") as name:
        folder = Path(name)
        shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(ROOT / "conf", folder / "conf")
        write_empty_tables(folder)
        run_process(folder, "-m", "visiongate", "params", *overrides)
        return {stage: run_process(folder, "src/run.py", stage) for stage in STAGES}


def write_empty_tables(folder: Path) -> None:
    """Write the tables of collected and corrected images without a row."""
    (folder / "data").mkdir()
    for table in TABLES:
        header = (ROOT / table).read_text().splitlines()[0]
        (folder / table).write_text(f"{header}\n")


def measure_loop(archive: Path, size: int, mode: str) -> Cost:
    """Run the loop on a zip of images, in its own process."""
    return run_process(ROOT, __file__, str(archive), str(size), mode)


def run_process(folder: Path, *arguments: str) -> Cost:
    """Run Python in a folder and measure the whole process, including its start.

    Raises:
        RuntimeError: The process failed.
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
    bytes_per_unit = 1 if sys.platform == "darwin" else 1024
    return Cost(time.perf_counter() - started, usage.ru_maxrss * bytes_per_unit / 1e6)


def write_set(archive: Path, images: int, size: int, mode: str, encoding: str) -> None:
    """Write a zip of different ``CLASS/NUMBER`` images of soft random blobs.

    Args:
        archive: The zip.
        images: Number of images.
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
