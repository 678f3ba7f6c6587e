"""Train and evaluate every model on every data set, and write docs/results.md.

    make bench BENCH=results ARGS="--source mnist=/data/mnist --source cifar10=/data/cifar10.zip"

Each data set gets a temporary clone, in which the stages run as they do for a user. Each result is saved at once, so the same
command resumes an interrupted run. A data set other than the digits is skipped without a ``--source``.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import numpy as np
import torch

from visiongate.models.registry import baseline_names, network_names
from visiongate.settings.composition import compose_params

ROOT = Path(__file__).resolve().parents[1]
DATA_STAGES = ("ingestion", "validation", "preparation", "transformation")


@dataclass(frozen=True, slots=True)
class DataSet:
    """A data set, and what bounds the cost of its results."""

    title: str
    # Images to use, spread evenly over the data set; None uses all.
    limit: int | None
    epochs: int


DATA_SETS = {
    "digits": DataSet("Digits of scikit-learn", None, 10),
    "mnist": DataSet("MNIST", 3_000, 3),
    "cifar10": DataSet("CIFAR-10", 3_000, 3),
    "cats_dogs": DataSet("Cats and dogs", 1_500, 3),
    "chest_xray": DataSet("Chest X-rays", 1_500, 3),
}


@dataclass(frozen=True, slots=True)
class Result:
    """One model on one data set. The numbers are None if a stage failed, and ``failure`` has its last message."""

    data: str
    model: str
    limit: int | None
    epochs: int
    size: int
    parameters: int | None = None
    train_images: int | None = None
    test_images: int | None = None
    train_seconds: float | None = None
    accuracy: float | None = None
    low: float | None = None
    high: float | None = None
    hardware: str | None = None
    failure: str | None = None


def main() -> None:
    """Run what has no result yet, and write the page after each model."""
    options = parse_arguments()
    sources = dict(source.split("=", 1) for source in options.source)
    options.work.mkdir(parents=True, exist_ok=True)
    store = options.work / "results.json"
    results = [Result(**row) for row in json.loads(store.read_text())] if store.exists() else []
    for name in options.data:
        if name != "digits" and name not in sources:
            print(f"{name}: skipped; give --source {name}=PATH", flush=True)
            continue
        data = DATA_SETS[name]
        limits = options.limit or data.limit, options.epochs or data.epochs
        done = {
            result.model
            for result in results
            if (result.data, result.limit, result.epochs) == (name, *limits)
        }
        models = [model for model in options.models if model not in done]
        results = [result for result in results if result.data != name or result.model in done]
        try:
            for result in measure(name, sources.get(name), limits, models, options):
                results.append(result)
                store.write_text(json.dumps([asdict(row) for row in results], indent=2))
                options.output.write_text(render(results), encoding="utf-8")
                print(describe(result), flush=True)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            print(f"{name}: failed before training: {error}", file=sys.stderr, flush=True)


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Train and evaluate every model on every data set.")
    every_model = [*baseline_names(), *network_names()]
    parser.add_argument(
        "--source", action="append", default=[], metavar="DATA=PATH", help="a folder or archive"
    )
    parser.add_argument("--data", nargs="+", choices=DATA_SETS, default=list(DATA_SETS))
    parser.add_argument("--models", nargs="+", choices=every_model, default=every_model)
    parser.add_argument("--limit", type=int, help="images per data set, in place of the default")
    parser.add_argument("--epochs", type=int, help="epochs per network, in place of the default")
    parser.add_argument("--timeout", type=float, default=1800, help="seconds per stage")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "visiongate-results")
    parser.add_argument("--output", type=Path, default=ROOT / "docs/results.md")
    return parser.parse_args()


def measure(
    name: str,
    source: str | None,
    limits: tuple[int | None, int],
    models: Sequence[str],
    options: argparse.Namespace,
) -> Iterator[Result]:
    """Yield a result per model; the stages before `train` run once."""
    limit, epochs = limits
    overrides = [f"dataset={name}", f"training.epochs={epochs}", f"dataset.limit={limit or 'null'}"]
    overrides += [f"dataset.path={Path(source).resolve()}"] if source else []
    folder = options.work / name
    if models:
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
        compose(folder, overrides)
        for stage in DATA_STAGES:
            run_stage(folder, stage, options.timeout)
    for model in models:
        compose(folder, [*overrides, f"model={model}"])
        size = read(folder / "data/transformed/transform.json")["size"]
        try:
            seconds = run_stage(folder, "train", options.timeout)
            run_stage(folder, "evaluate", options.timeout)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            yield Result(name, model, limit, epochs, size, failure=str(error).splitlines()[-1][:200])
        else:
            yield collect(folder, Result(name, model, limit, epochs, size, train_seconds=round(seconds, 1)))
    shutil.rmtree(folder, ignore_errors=True)


def compose(folder: Path, overrides: list[str]) -> None:
    """Write ``params.yaml``."""
    (folder / "params.yaml").write_text(compose_params(ROOT / "conf", overrides), encoding="utf-8")


def run_stage(folder: Path, stage: str, timeout: float) -> float:
    """Run a stage and return its seconds.

    Raises:
        RuntimeError: The stage failed.
        TimeoutExpired: It took too long.
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "MLFLOW_"))}
    started = time.perf_counter()
    command = [sys.executable, "src/run.py", stage]
    result = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=timeout
    )
    if result.returncode:
        raise RuntimeError(result.stderr.strip() or f"{stage}: exit status {result.returncode}")
    return time.perf_counter() - started


def collect(folder: Path, result: Result) -> Result:
    """Add what the stages wrote."""
    training, metrics = read(folder / "reports/training.json"), read(folder / "reports/metrics.json")
    interval = read(folder / "reports/evaluation/intervals.json")["accuracy"]
    labels = folder / "data/transformed/train_labels.npy"
    return Result(
        **{
            **asdict(result),
            "parameters": training["parameters"],
            "hardware": training["hardware"],
            "train_images": len(np.load(labels)),
            "test_images": metrics["images"],
            "accuracy": metrics["accuracy"],
            "low": interval["low"],
            "high": interval["high"],
        }
    )


def read(path: Path) -> dict[str, Any]:
    """Read JSON."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def describe(result: Result) -> str:
    """Return a line about a result."""
    if result.accuracy is None:
        return f"{result.data} {result.model}: failed: {result.failure}"
    return f"{result.data} {result.model}: accuracy {result.accuracy:.2%}, {result.train_seconds:.0f} s"


def render(results: Sequence[Result]) -> str:
    """Return the page."""
    return (
        "\n\n".join(
            [HEAD.format(machine=machine()), *(section(name, results) for name in DATA_SETS)]
        ).rstrip()
        + "\n"
    )


HEAD = """# Results

This page compares every model on each measured data set, with the recipe of the model in `conf/model`. This command writes the
page, and adds the data sets whose sources it gets:

```sh
make bench BENCH=results ARGS="--source mnist=/data/mnist --source cifar10=/data/cifar10.zip"
```

Images and epochs are limited so that five data sets cost about two hours on a CPU. The numbers compare the models with each
other and are not their best accuracies. `--limit` and `--epochs` change the limits. The recipes in `conf/experiment` state the
accuracy of a full training.

- Seconds: the stage `train`, from pixel arrays to the exported model.
- 95% interval: the confidence interval of the accuracy on the test split.
- Machine: {machine}."""


def section(name: str, results: Sequence[Result]) -> str:
    """Return the table of a data set, the most accurate model first."""
    rows = sorted((row for row in results if row.data == name), key=lambda row: -(row.accuracy or -1))
    if not rows:
        return ""
    first = next((row for row in rows if row.accuracy is not None), rows[0])
    facts = f"{first.train_images or 0:,} training and {first.test_images or 0:,} test images of {first.size} pixels a side"
    lines = [
        f"## {DATA_SETS[name].title}",
        "",
        f"{facts}, {first.epochs} epochs.",
        "",
        "| model | parameters | accuracy | 95% interval | seconds | hardware |",
        "|---|---:|---:|---:|---:|---|",
        *map(row_of, rows),
    ]
    return "\n".join(lines)


def row_of(row: Result) -> str:
    """Return a row of a table."""
    if row.accuracy is None:
        return f"| `{row.model}` | | failed | | | {row.failure} |"
    accuracy = f"{row.accuracy:.1%} | {row.low:.1%} to {row.high:.1%}"
    return f"| `{row.model}` | {row.parameters:,} | {accuracy} | {row.train_seconds:,.0f} | {row.hardware} |"


def machine() -> str:
    """Name the processor, its cores and torch."""
    cpuinfo = Path("/proc/cpuinfo")
    names = (
        [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        if cpuinfo.exists()
        else []
    )
    processor = names[0].partition(":")[2].strip() if names else platform.processor() or platform.machine()
    return f"{processor}, {os.cpu_count()} cores, torch {torch.__version__}"


if __name__ == "__main__":
    main()
