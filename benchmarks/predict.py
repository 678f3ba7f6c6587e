"""Measure ``visiongate predict``: its speed beside a loop of decoding and ONNX Runtime, and its memory on many files.

    python benchmarks/predict.py speed [--images FOLDER_OR_ZIP] [--model MODEL.onnx]
    python benchmarks/predict.py memory [--files 100000]

``speed`` predicts photographs of 1024 × 768 in a folder, by default with an EfficientNet-Lite0. The alternative reads and
decodes them with the same function in threads, one per core, and then calls ONNX Runtime with batches of the same size and its
default options: each of the two steps has all cores for itself. Both run in turn; speeds are medians, and the ratio is the
median of the ratios of each run.

``memory`` runs the command on a folder of small PNG files, and on one with a tenth of them, by default with a small network.
Peak memory is that of the process, which only Linux tells.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from data import describe_machine, make_photos, read_photos
from visiongate.cores import usable_cores
from visiongate.images.decoding import MAX_PIXELS
from visiongate.models.classifier import make_classifier
from visiongate.models.model_input import to_input
from visiongate.models.predictor import Predictor, open_predictor
from visiongate.prediction.file_predictor import BATCH, FilePredictor
from visiongate.prediction.sources import Sources
from visiongate.records.transform import Transform
from visiongate.settings.loading import load_settings

ROOT = Path(__file__).resolve().parents[1]
SIZE = (1024, 768)
GOAL = 0.9
# Distinct images among the small files.
DISTINCT = 1000
CLASSES = ("first", "second")


def main() -> None:
    """Run the selected benchmarks."""
    parser = argparse.ArgumentParser(description="Measure `visiongate predict`.")
    parser.add_argument("benchmark", nargs="?", choices=[*BENCHMARKS, "all"], default="all")
    parser.add_argument("--images", type=Path, help="folder or zip of JPEG photographs, enlarged if smaller")
    parser.add_argument("--model", type=Path, help="model file, in place of the default")
    parser.add_argument("--photos", type=int, default=192, help="number of photographs")
    parser.add_argument("--runs", type=int, default=5, help="runs of each way")
    parser.add_argument("--files", type=int, default=100_000, help="small files for the memory")
    options = parser.parse_args()
    print(f"{describe_machine()}\n")
    for name, benchmark in BENCHMARKS.items():
        if options.benchmark in (name, "all"):
            benchmark(options)


def speed(options: argparse.Namespace) -> None:
    """Compare the speed with that of the loop."""
    with tempfile.TemporaryDirectory() as temporary:
        folder, model = Path(temporary, "photos"), options.model or Path(temporary, "model.onnx")
        write_photos(folder, options)
        if options.model is None:
            write_model(model, "efficientnet_lite0", {"weights": "package"}, 224, "RGB")
        ways = {"ours": partial(by_predictor, folder, model), "loop": partial(by_loop, folder, model)}
        for way in ways.values():
            # The first run warms up.
            way()
        taken = [{name: seconds(way) for name, way in ways.items()} for _ in range(options.runs)]
    rates = {name: options.photos / statistics.median(run[name] for run in taken) for name in ways}
    ratios = sorted(run["loop"] / run["ours"] for run in taken)
    print(
        f"{options.photos} photographs, {options.runs} runs in turn: ours {rates['ours']:.1f} images/s, ",
        end="",
    )
    print(
        f"loop {rates['loop']:.1f}; ratio {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}), ",
        end="",
    )
    print(f"goal {GOAL:g}")


def by_predictor(folder: Path, model: Path) -> None:
    """Predict as the command does."""
    classifier = make_classifier("model", open_predictor(model, shares_cores=True), None, "")
    sources = Sources([str(folder)], [], load_settings(ROOT / "params.yaml").dataset)
    for _ in FilePredictor([classifier], [], MAX_PIXELS).predict(sources.files()):
        pass


def by_loop(folder: Path, model: Path) -> None:
    """Decode everything in threads, then predict it in batches."""
    predictor = open_predictor(model)
    files = sorted(folder.iterdir())
    with ThreadPoolExecutor(usable_cores()) as pool:
        pixels = list(pool.map(partial(decode, predictor), files))
    for start in range(0, len(pixels), BATCH):
        predictor.predict(np.stack(pixels[start : start + BATCH]))


def decode(predictor: Predictor, path: Path) -> np.ndarray:
    """Read and decode a file."""
    return to_input(path.read_bytes(), predictor.contract)


def seconds(work: Callable[[], object]) -> float:
    """Return the seconds of one run."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def write_photos(folder: Path, options: argparse.Namespace) -> None:
    """Write the photographs as JPEG files."""
    folder.mkdir()
    if options.images is None:
        for number, photo in enumerate(make_photos(*SIZE, options.photos)):
            (folder / f"{number:04d}.jpg").write_bytes(photo)
        return
    for number, photo in enumerate(read_photos(options.images)[: options.photos]):
        path = folder / f"{number:04d}.jpg"
        path.write_bytes(photo)
        with Image.open(path) as image:
            if image.width < SIZE[0]:
                image.convert("RGB").resize(SIZE, Image.Resampling.BICUBIC).save(path, quality=90)


def write_model(path: Path, name: str, options: Mapping[str, str], size: int, mode: str) -> None:
    """Export a network that is not trained on the classes."""
    import torch  # noqa: PLC0415 - only this needs it

    from visiongate.models.normalization import statistics_for  # noqa: PLC0415
    from visiongate.models.onnx_export import ServingNetwork, export_network  # noqa: PLC0415
    from visiongate.models.registry import build_network  # noqa: PLC0415

    torch.manual_seed(0)
    channels = len(mode)
    network = build_network(name, options, channels, size, len(CLASSES))
    transform = Transform(size, mode, "center-crop", [0.5] * channels, [0.5] * channels, list(CLASSES))
    serving = ServingNetwork(network, statistics_for(network, transform), temperature=1.0)
    metadata = {"transform": asdict(transform), "classes": CLASSES}
    export_network(serving, transform.input_shape, metadata, path)


def memory(options: argparse.Namespace) -> None:
    """Measure the command on many small files."""
    with tempfile.TemporaryDirectory() as temporary, entered(Path(temporary)):
        Path("params.yaml").write_text((ROOT / "params.yaml").read_text())
        if options.model is None:
            write_model(Path("model.onnx"), "small_cnn", {}, 16, "L")
        for files in (options.files // 10, options.files):
            write_small_files(Path(f"{files}"), files)
            taken, megabytes = run_command(f"{files}", options.model or Path("model.onnx"))
            print(f"{files:,} files: {taken:.0f} s, peak memory {megabytes:,.0f} MB")


def write_small_files(folder: Path, count: int) -> None:
    """Write small PNG files, a thousand in each of several folders; most are links to others of the same content."""
    generator = np.random.default_rng(0)
    for number in range(count):
        path = folder / f"{number // 1000:03d}" / f"{number:06d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        if number < DISTINCT:
            Image.fromarray(generator.integers(0, 256, (16, 16), dtype=np.uint8)).save(path)
        else:
            os.link(folder / "000" / f"{number % DISTINCT:06d}.png", path)


def run_command(folder: str, model: Path) -> tuple[float, float]:
    """Return seconds and peak megabytes of the command."""
    command = [
        sys.executable,
        "-m",
        "visiongate",
        "predict",
        folder,
        "--model",
        str(model),
        "--output",
        f"{folder}.csv",
    ]
    started, peak = time.perf_counter(), 0.0
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak = max(peak, read_peak(process.pid))
            time.sleep(0.1)
    if process.returncode:
        raise RuntimeError(f"the command ended with {process.returncode}")
    return time.perf_counter() - started, peak


def read_peak(process: int) -> float:
    """Return the peak memory of a process in megabytes; 0 if it has just ended."""
    # `getrusage` counts the memory of this process before it started the other, too.
    status = Path(f"/proc/{process}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else 0.0


@contextmanager
def entered(folder: Path) -> Iterator[None]:
    """Change to a folder for a while."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


BENCHMARKS: dict[str, Callable[[argparse.Namespace], None]] = {"speed": speed, "memory": memory}

if __name__ == "__main__":
    main()
