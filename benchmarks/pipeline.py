"""The time of the pipeline: ``make bench``.

In temporary copies of the work tree, with the committed settings:

1. ``dvc repro register`` from scratch, in turn with `pipeline_plain.py`, which does the same work in one process, as a ratio;
   then ``dvc repro`` for the rest, which is the search, as a share of the whole.
2. Once, ``dvc repro`` from scratch by stage: `profile_stage.py` splits each stage into import, work and write. The rest is
   DVC and the start and end of the interpreters.
3. ``dvc repro`` with nothing to do, in turn with ``dvc repro`` over eight stages that run ``true``, as a ratio; and the same
   pipeline without its code, its parameters or both among the dependencies, which shows what DVC's time depends on.

The figures are medians of several runs, for this machine.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
PROFILER = Path(__file__).resolve().parent / "profile_stage.py"
PLAIN = Path(__file__).resolve().parent / "pipeline_plain.py"
EMPTY_STAGES = 8
# What the pipeline is measured without.
LESS = (("code",), ("parameters",), ("code", "parameters"))
STAGES = (
    "ingestion",
    "validation",
    "preparation",
    "transformation",
    "train",
    "evaluate",
    "study",
    "optimize",
    "recommend",
    "register",
)
ENVIRONMENT = {
    **{
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("DVC_", "MLFLOW_", "PYTHONPATH"))
    },
    "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "VISIONGATE_LOG_LEVEL": "error",
}


def main() -> None:
    """Measure and print both tables."""
    parser = argparse.ArgumentParser(description="Measure the pipeline.")
    parser.add_argument(
        "--runs",
        type=int,
        default=3,
        help="runs of the whole pipeline; four times as many with nothing to do",
    )
    parser.add_argument(
        "--only", choices=("line", "stages", "nothing"), help="the only measurement; by default all"
    )
    options = parser.parse_args()
    runs = options.runs
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n"
    )
    if options.only in {None, "line"}:
        print_line([measure_line() for _ in range(runs)])
    if options.only in {None, "stages"}:
        print_stages(measure_stages())
    if options.only in {None, "nothing"}:
        print_no_op(4 * runs)


def measure_line() -> tuple[float, float, float]:
    """Return the seconds of the pipeline without the search, of the plain script, and of the search."""
    with working_copy() as folder:
        ours = repro(folder, "register")
        # Such as "bf16 on cpu".
        hardware = json.loads((folder / "reports/training.json").read_text())["hardware"]
        started = time.perf_counter()
        command = [sys.executable, str(PLAIN), "params.yaml", "plain", hardware.split()[0]]
        run(command, folder)
        theirs = time.perf_counter() - started
        # Without what DVC takes to start and to look at the other stages, which `ours` has, too.
        return ours, theirs, repro(folder) - repro(folder)


def print_line(runs: list[tuple[float, float, float]]) -> None:
    """Print the medians, and the medians of the ratios."""
    ours, theirs, search = (statistics.median(column) for column in zip(*runs, strict=True))
    ratios = [line / plain for line, plain, _ in runs]
    print(
        f"dvc repro register from scratch: {ours:.1f} s; one plain script: {theirs:.1f} s (medians of {len(runs)})"
    )
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    print(f"ratio, pair by pair: {statistics.median(ratios):.2f} ({spread}); limit 1.3")
    share = statistics.median(rest / (line + rest) for line, _, rest in runs)
    print(f"the search takes {search:.1f} s more, {share:.0%} of the whole; limit 33%\n")


def measure_stages() -> dict[str, dict[str, float]]:
    """Run the pipeline once from scratch; return seconds by stage and kind, and the total as ``pipeline``."""
    with working_copy() as folder:
        # The stages run through the profiler, which writes its seconds to a folder that DVC ignores.
        pipeline = folder / "dvc.yaml"
        pipeline.write_text(pipeline.read_text().replace("python src/run.py", f"python '{PROFILER}'"))
        seconds = repro(folder)
        parts = {stage: json.loads((folder / ".dvc/tmp" / f"{stage}.json").read_text()) for stage in STAGES}
    return {**parts, "pipeline": {"total": seconds}}


def print_stages(run: dict[str, dict[str, float]]) -> None:
    """Print seconds by stage and kind."""
    kinds = ("import", "work", "write")
    print("seconds         " + "".join(f"{kind:>9}" for kind in kinds) + "    total")
    for stage in STAGES:
        print_row(stage, run[stage])
    sums = {kind: sum(run[stage][kind] for stage in STAGES) for kind in kinds}
    print_row("all stages", sums)
    total = run["pipeline"]["total"]
    rest = total - sum(sums.values())
    print(f"\ndvc repro from scratch: {total:.1f} s, of which imports {sums['import'] / total:.0%}")
    print(f"DVC and the interpreters' start and end: {rest:.1f} s\n")


def print_row(name: str, seconds: dict[str, float]) -> None:
    """Print one row of the table."""
    print(
        f"{name:<16}"
        + "".join(f"{value:9.2f}" for value in seconds.values())
        + f"{sum(seconds.values()):9.2f}"
    )


def print_no_op(runs: int) -> None:
    """Print the times of `dvc repro` with nothing to do, whole and with less, as ratios to stages that do nothing."""
    with ExitStack() as stack:
        empty, whole = stack.enter_context(empty_pipeline()), stack.enter_context(working_copy())
        repro(empty)
        repro(whole)
        pipelines = {"eight stages of `true`": empty, "the pipeline": whole}
        for parts in LESS:
            pipelines[f"without {' and '.join(parts)}"] = stack.enter_context(lighter_copy(whole, parts))
        rounds = [[repro(folder) for folder in pipelines.values()] for _ in range(runs)]
    print(f"dvc repro, nothing to do (medians of {runs}; limit 1.3)   seconds  ratio")
    for name, seconds in zip(pipelines, zip(*rounds, strict=True), strict=True):
        ratio = statistics.median(ours / theirs[0] for ours, theirs in zip(seconds, rounds, strict=True))
        print(f"{name:<54}{statistics.median(seconds):9.2f}{ratio:7.2f}")


def repro(folder: Path, *targets: str) -> float:
    """Run ``dvc repro``; return its seconds."""
    started = time.perf_counter()
    run([sys.executable, "-m", "dvc", "repro", "-q", *targets], folder)
    return time.perf_counter() - started


def run(command: list[str], folder: Path) -> None:
    """Run a command in a folder, without its output."""
    subprocess.run(command, cwd=folder, env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL)


@contextmanager
def working_copy() -> Iterator[Path]:
    """Copy what git tracks, as it is in the working tree, without outputs, lock or cache."""
    with repository() as folder:
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True
        )
        for name in filter(None, listed.stdout.split("\0")):
            if (ROOT / name).is_file() and not name.startswith((".dvc/store", "reports/", "dvc.lock")):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, folder / name)
        yield folder


@contextmanager
def empty_pipeline() -> Iterator[Path]:
    """Make stages that run ``true``, each after the other."""
    with repository() as folder:
        shutil.copytree(
            ROOT / ".dvc", folder / ".dvc", ignore=shutil.ignore_patterns("store", "cache", "tmp")
        )
        lines = ["stages:"]
        for number, stage in enumerate(STAGES[:EMPTY_STAGES]):
            (folder / f"{number}.txt").write_text(stage)
            lines += [f"  {stage}:", "    cmd: 'true'", "    deps:", f"      - {number}.txt"]
        (folder / "dvc.yaml").write_text("\n".join(lines) + "\n")
        yield folder


@contextmanager
def lighter_copy(whole: Path, parts: Collection[str]) -> Iterator[Path]:
    """Copy a complete pipeline without its code, its parameters or both among the dependencies."""
    with tempfile.TemporaryDirectory(prefix="visiongate-") as name:
        folder = shutil.copytree(whole, Path(name) / "copy", symlinks=True)
        text = (folder / "dvc.yaml").read_text()
        if "parameters" in parts:
            # DVC reads the file even if no stage depends on it.
            parameters = folder / "params.yaml"
            text = text.replace("${dataset.path}", yaml.safe_load(parameters.read_text())["dataset"]["path"])
            parameters.unlink()
        pipeline = yaml.safe_load(text)
        for stage in pipeline["stages"].values():
            if "parameters" in parts:
                stage.pop("params", None)
            if "code" in parts:
                stage["deps"] = [path for path in stage["deps"] if not path.startswith("src/")]
        (folder / "dvc.yaml").write_text(yaml.safe_dump(pipeline))
        (folder / "dvc.lock").unlink()
        run([sys.executable, "-m", "dvc", "commit", "-q", "--force"], folder)
        repro(folder)
        yield folder


@contextmanager
def repository() -> Iterator[Path]:
    """Make an empty git repository in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="visiongate-") as name:
        subprocess.run(["git", "init", "-q"], cwd=name, check=True)
        yield Path(name)


if __name__ == "__main__":
    main()
