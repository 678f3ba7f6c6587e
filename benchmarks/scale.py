"""Measure what the engine costs and how far it scales: pieces of work on Ray, beside the same stages in one process.

    python benchmarks/scale.py overhead [--images FOLDER_OR_ZIP] [--limit 25000]
    python benchmarks/scale.py nodes [--images FOLDER_OR_ZIP] [--target 1000000]
    python benchmarks/scale.py memory [--sizes 2000 8000 32000]

``overhead`` runs each stage in this process and on a Ray cluster of this machine with one worker that has all cores, in turn,
and compares the seconds of each pair. The start of the cluster and of its worker, which loads the stage's modules, is reported
on its own and is not in the ratio.

``nodes`` measures the pieces of each stage in one process, with all images and with a third of them, and how fast the driver
hands out empty pieces. From these it simulates clusters of 10, 100 and 1,000 nodes like this machine, each with one piece at a
time. The simulation has no file system: its nodes read and write as fast as this machine.

``memory`` measures the peak memory of the process of each stage at three numbers of small images; with ``--engine ray``, that
of the driver.

``predict`` and ``features`` are those of an EfficientNet-Lite0 at 224×224. Without ``--images``, the photographs are generated.
"""

import argparse
import contextlib
import importlib
import io
import logging
import os
import statistics
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import onnx

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from data import describe_machine, make_photos
from data_stages import STAGES, measure_stages, run_process, write_empty_tables, write_set
from predict import entered, write_model
from scale_simulation import StageTimes, forecast
from visiongate import paths
from visiongate.adapters.ray import cluster
from visiongate.adapters.ray.pieces import RayEngine
from visiongate.cores import usable_cores
from visiongate.engine.pieces import LocalEngine, open_engine
from visiongate.images.decoding import MAX_PIXELS
from visiongate.images.table import iterate_images
from visiongate.models.classifier import make_classifier
from visiongate.models.embedding import Embedder
from visiongate.models.feature_graph import feature_graph
from visiongate.models.feature_pieces import compute_missing
from visiongate.models.predictor import open_predictor
from visiongate.prediction.file_predictor import FilePredictor
from visiongate.prediction.pieces import predict_in_pieces, shared
from visiongate.prediction.sources import Sources
from visiongate.records.files import sha256_of
from visiongate.records.splits import SPLITS
from visiongate.settings.engine import Engine as EngineSettings
from visiongate.settings.loading import load_settings
from visiongate.settings.schema import Settings
from visiongate.user_cache import FOLDER

Connect = Callable[[EngineSettings], AbstractContextManager[int]]
ROOT = Path(__file__).resolve().parents[1]
SIZE = (500, 375)
SIDE = 224
MODEL = Path("models/model.onnx")
NODES = (1, 10, 100, 1000)
EMPTY_PIECES = 300
# Of the stages in pieces, by the module whose import its worker pays once.
MODULES = {
    "validation": "visiongate.validation.stage",
    "preparation": "visiongate.preparation.stage",
    "transformation": "visiongate.transformation.stage",
    "predict": "visiongate.prediction.pieces",
    "features": "visiongate.models.feature_pieces",
}


def main() -> None:
    """Run the selected benchmarks."""
    parser = argparse.ArgumentParser(description="Measure the engine.")
    parser.add_argument("benchmark", nargs="?", choices=[*BENCHMARKS, "all"], default="all")
    parser.add_argument("--images", type=Path, help="folder or zip of photographs, CLASS/…")
    parser.add_argument("--limit", type=int, default=25_000, help="largest number of photographs")
    parser.add_argument("--runs", type=int, default=3, help="pairs of runs")
    parser.add_argument(
        "--stages", nargs="+", choices=MODULES, default=list(MODULES), help="stages to measure"
    )
    parser.add_argument("--target", type=int, default=1_000_000, help="images of the simulation")
    parser.add_argument(
        "--sizes", nargs=3, type=int, default=[2000, 8000, 32_000], help="images for the memory"
    )
    parser.add_argument("--engine", choices=["local", "ray"], default="local", help="of the memory")
    options = parser.parse_args()
    logging.getLogger("visiongate").setLevel(logging.ERROR)
    print(f"{describe_machine()}\n")
    for name, benchmark in BENCHMARKS.items():
        if options.benchmark in (name, "all"):
            benchmark(options)


@dataclass(slots=True)
class Recorder:
    """What the engine did during a stage.

    Attributes:
        start: Seconds of the start and the stop of clusters, and of their workers' imports.
        streams: Seconds of the pieces of each stream in this process.
    """

    start: float = 0.0
    streams: list[list[float]] = field(default_factory=list)

    @contextmanager
    def watch(self, stage: str) -> Iterator[None]:
        """Record what happens within the block."""
        with (
            patch.object(LocalEngine, "stream", self.stream),
            patch.object(
                cluster, "connect", partial(self.connect, f"import {MODULES[stage]}", cluster.connect)
            ),
        ):
            yield

    def stream(
        self,
        function: Callable[[Any], Any],
        pieces: Iterable[Any],
        resources: object = None,  # noqa: ARG002 - as `Engine.stream`
    ) -> Iterator[Any]:
        """Apply a function to pieces in this process."""
        times: list[float] = []
        self.streams.append(times)
        for piece in pieces:
            started = time.perf_counter()
            result = function(piece)
            times.append(time.perf_counter() - started)
            yield result

    @contextmanager
    def connect(self, command: str, connect: Connect, settings: EngineSettings) -> Iterator[int]:
        """Be the driver of a cluster whose worker has run a command."""
        started = time.perf_counter()
        with connect(settings) as slots:
            list(RayEngine(settings, 1).stream(partial(exec, command), [{}]))
            self.start += time.perf_counter() - started
            yield slots
            started = time.perf_counter()
        self.start += time.perf_counter() - started


def overhead(options: argparse.Namespace) -> None:
    """Compare a worker on a cluster of this machine with this process."""
    with tempfile.TemporaryDirectory() as temporary, entered(Path(temporary)):
        count, settings = make_workspace(options, options.limit)
        chosen = {"local": settings, "ray": with_ray(settings)}
        print(
            f"{count:,} photographs, {options.runs} pairs of runs in turn, one worker with {usable_cores()} cores"
        )
        for stage in options.stages:
            run_stage(stage, settings)
            pairs = [
                {name: run_stage(stage, each) for name, each in chosen.items()} for _ in range(options.runs)
            ]
            ratios = sorted(pair["ray"][0] / pair["local"][0] for pair in pairs)
            seconds = {name: statistics.median(pair[name][0] for pair in pairs) for name in chosen}
            start = statistics.median(pair["ray"][1].start for pair in pairs)
            print(
                f"  {stage:<15}one process {seconds['local']:6.1f} s, Ray {seconds['ray']:6.1f} s, ratio "
                f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}); start of the cluster {start:.1f} s"
            )


def nodes(options: argparse.Namespace) -> None:
    """Simulate many nodes from the pieces measured in this process."""
    measured: list[dict[str, StageTimes]] = []
    for limit in (options.limit // 3, options.limit):
        with tempfile.TemporaryDirectory() as temporary, entered(Path(temporary)):
            count, settings = make_workspace(options, limit)
            found = {}
            for stage in options.stages:
                # The first run loads the modules.
                run_stage(stage, settings)
                seconds, recorder = run_stage(stage, settings, in_pieces=True)
                found[stage] = StageTimes(count, seconds, recorder.streams)
            measured.append(found)
            dispatch = measure_dispatch(with_ray(settings)) if limit == options.limit else {}
    told = ", ".join(
        f"{seconds * 1000:.1f} ms with {running:,} running" for running, seconds in dispatch.items()
    )
    print(f"the driver hands out a piece in {told}")
    print(f"simulation of {options.target:,} images, pieces drawn from those of {count:,}")
    for stage in options.stages:
        small, large = (found[stage] for found in measured)
        pieces = sum(map(len, large.streams))
        print(
            f"  {stage}: {large.images / large.total:,.0f} images/s, {pieces} pieces, {large.serial:.1f} s outside of them"
        )
        for number in NODES:
            found_time = forecast(small, large, options.target, number, partial(interpolate, dispatch))
            losses = ", ".join(f"{name} {loss:,.0f} s" for name, loss in found_time.losses.items())
            print(
                f"    {number:>5} nodes: {found_time.total:10,.0f} s, efficiency {found_time.efficiency:4.0%} ({losses})"
            )


def memory(options: argparse.Namespace) -> None:
    """Measure the peak memory of each stage."""
    settings = ["engine=ray", "engine.address=local"] if options.engine == "ray" else []
    print(f"peak memory with engine={options.engine}, in MB")
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as temporary:
            archive = Path(temporary, "images.zip")
            write_set(archive, size, 28, "L", "PNG")
            overrides = ["dataset=folder", f"dataset.path='{archive}'", "transformation=gray_28", *settings]
            costs = measure_stages(overrides)
        print(f"  {size:>9,} images: " + ", ".join(f"{stage} {costs[stage].peak:,.0f}" for stage in STAGES))


def make_workspace(options: argparse.Namespace, limit: int) -> tuple[int, Settings]:
    """Ingest photographs into the working folder, write a model, and return the number of images and the settings."""
    for folder in ("src", "conf"):
        Path(folder).symlink_to(ROOT / folder)
    write_empty_tables(Path.cwd())
    source = (options.images or write_photos(limit)).resolve()
    overrides = [f"dataset.path='{source}'", f"dataset.limit={limit}", f"transformation=color_{SIDE}"]
    with contextlib.redirect_stdout(io.StringIO()):
        run_process(Path.cwd(), "-m", "visiongate", "params", "dataset=folder", *overrides)
        run_process(Path.cwd(), "src/run.py", "ingestion")
    MODEL.parent.mkdir()
    write_model(MODEL, "efficientnet_lite0", {"weights": "package"}, SIDE, "RGB")
    settings = load_settings()
    for stage in ("validation", "preparation", "transformation"):
        run_stage(stage, settings)
    return write_files(), settings


def write_photos(count: int) -> Path:
    """Write a zip of generated photographs in two classes."""
    path = Path("photos.zip")
    with zipfile.ZipFile(path, "w") as archive:
        for number, photo in enumerate(make_photos(*SIZE, count)):
            archive.writestr(f"{number % 2}/{number:06d}.jpg", photo)
    return path


def write_files() -> int:
    """Write the ingested images as files, for ``predict``."""
    Path("photos").mkdir()
    count = 0
    for count, content in enumerate(iterate_images(Path("data/raw")), 1):
        Path(f"photos/{count:07d}.jpg").write_bytes(content)
    return count


def with_ray(settings: Settings) -> Settings:
    """Return settings for a cluster of this machine with one worker that has all cores."""
    images = settings.engine.resources.images.model_copy(update={"cpus": float(usable_cores())})
    resources = settings.engine.resources.model_copy(update={"images": images})
    update = {"kind": "ray", "address": "local", "workers": 1, "resources": resources}
    return settings.model_copy(update={"engine": settings.engine.model_copy(update=update)})


def run_stage(stage: str, settings: Settings, *, in_pieces: bool = False) -> tuple[float, Recorder]:
    """Run a stage, and return its seconds without those of a cluster's start.

    Args:
        stage: One of `MODULES`.
        settings: Of the stage.
        in_pieces: Whether ``predict`` and ``features`` work in pieces in this process, too.
    """
    recorder = Recorder()
    with recorder.watch(stage), contextlib.redirect_stdout(io.StringIO()):
        started = time.perf_counter()
        if stage == "predict":
            predict_files(settings, in_pieces=in_pieces)
        elif stage == "features":
            compute_features(settings, in_pieces=in_pieces)
        else:
            importlib.import_module(MODULES[stage]).run(settings)
        return time.perf_counter() - started - recorder.start, recorder


def predict_files(settings: Settings, *, in_pieces: bool) -> None:
    """Predict the photographs as the command does."""
    classifier = make_classifier("model", open_predictor(MODEL, shares_cores=True), None, sha256_of(MODEL))
    predictor, files = (
        FilePredictor([classifier], [], MAX_PIXELS),
        Sources(["photos"], [], settings.dataset).files(),
    )
    if settings.engine.kind == "local" and not in_pieces:
        list(predictor.predict(files))
        return
    with open_engine(settings.engine) as engine, shared(predictor) as sharable:
        list(predict_in_pieces(engine, sharable, files))


def compute_features(settings: Settings, *, in_pieces: bool) -> None:
    """Compute the features of the pixel arrays with an empty cache."""
    graph = feature_graph(onnx.load(MODEL))
    arrays = [
        path for split in SPLITS if len(np.load(path := paths.TRANSFORMED / f"{split}.npy", mmap_mode="r"))
    ]
    with tempfile.TemporaryDirectory() as cache, patch.dict(os.environ, {FOLDER: cache}):
        if settings.engine.kind == "local" and not in_pieces:
            for array in arrays:
                Embedder(graph)(np.load(array, mmap_mode="r"))
            return
        with open_engine(settings.engine) as engine:
            compute_missing(engine, graph, arrays)


def measure_dispatch(settings: Settings) -> dict[int, float]:
    """Return the driver's seconds for an empty piece, by the number of pieces that run at the same time."""
    taken = {}
    with cluster.connect(settings.engine):
        for running in NODES:
            engine, count = RayEngine(settings.engine, running), max(EMPTY_PIECES, 3 * running)
            list(engine.stream(partial(exec, "pass"), [{}]))
            started = time.perf_counter()
            list(engine.stream(partial(exec, "pass"), ({} for _ in range(count))))
            taken[running] = (time.perf_counter() - started) / count
    return taken


def interpolate(taken: dict[int, float], running: int) -> float:
    """Return the seconds of a piece with a number of running pieces, between the measured ones."""
    return float(np.interp(np.log10(running), np.log10(list(taken)), list(taken.values())))


BENCHMARKS: dict[str, Callable[[argparse.Namespace], None]] = {
    "overhead": overhead,
    "nodes": nodes,
    "memory": memory,
}

if __name__ == "__main__":
    main()
