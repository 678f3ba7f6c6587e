"""The time of the pipeline, by stage and kind: ``make bench``.

Two measurements in temporary copies of the work tree, with the committed settings:

1. ``dvc repro`` of the whole pipeline from scratch. `profile_stage.py` splits each stage into import, work and write; the
rest is
   DVC and the start and end of the interpreters.
2. ``dvc repro`` with nothing to do, in turn with ``dvc repro`` over ten stages that run ``true``, as a ratio.

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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROFILER = Path(__file__).resolve().parent / "profile_stage.py"
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
    runs = parser.parse_args().runs
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n"
    )
    print_stages([measure_pipeline() for _ in range(runs)])
    print_no_op(4 * runs)


def measure_pipeline() -> dict[str, dict[str, float]]:
    """Run the pipeline once from scratch; return seconds by stage and kind, and the total as ``pipeline``."""
    with working_copy() as folder:
        # The stages run through the profiler, which writes its seconds to a folder that DVC ignores.
        pipeline = folder / "dvc.yaml"
        pipeline.write_text(pipeline.read_text().replace("python src/run.py", f"python '{PROFILER}'"))
        seconds = repro(folder)
        parts = {stage: json.loads((folder / ".dvc/tmp" / f"{stage}.json").read_text()) for stage in STAGES}
    return {**parts, "pipeline": {"total": seconds}}


def print_stages(runs: list[dict[str, dict[str, float]]]) -> None:
    """Print medians by stage and kind."""
    kinds = ("import", "work", "write")
    print("seconds         " + "".join(f"{kind:>9}" for kind in kinds) + "    total")
    sums = dict.fromkeys(kinds, 0.0)
    for stage in STAGES:
        medians = {kind: statistics.median(run[stage][kind] for run in runs) for kind in kinds}
        sums = {kind: sums[kind] + medians[kind] for kind in kinds}
        print_row(stage, medians)
    print_row("all stages", sums)
    total = statistics.median(run["pipeline"]["total"] for run in runs)
    spread = f"{min(run['pipeline']['total'] for run in runs):.1f} to {max(run['pipeline']['total'] for run in runs):.1f}"
    print(f"\ndvc repro from scratch: {total:.1f} s (median of {len(runs)}, {spread}); limit 60 s")
    rest = total - sum(sums.values())
    print(
        f"of which imports {sums['import'] / total:.0%} (limit 50%), DVC and the interpreters' start and end {rest:.1f} s\n"
    )


def print_row(name: str, seconds: dict[str, float]) -> None:
    """Print one row of the table."""
    print(
        f"{name:<16}"
        + "".join(f"{value:9.2f}" for value in seconds.values())
        + f"{sum(seconds.values()):9.2f}"
    )


def print_no_op(runs: int) -> None:
    """Print the time of `dvc repro` with nothing to do, beside the time over stages that do nothing."""
    with working_copy() as whole, empty_pipeline() as empty:
        repro(whole)
        repro(empty)
        pairs = [(repro(whole), repro(empty)) for _ in range(runs)]
    ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(one / other for one, other in pairs)
    print(
        f"dvc repro, nothing to do: {ours:.2f} s; over ten stages of `true`: {theirs:.2f} s (medians of {runs})"
    )
    print(f"ratio, pair by pair: {ratio:.2f}; limit 1.5")


def repro(folder: Path) -> float:
    """Run ``dvc repro``; return its seconds."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "dvc", "repro", "-q"], cwd=folder, env=ENVIRONMENT, check=True)
    return time.perf_counter() - started


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
    """Make ten stages that run ``true``, each after the other."""
    with repository() as folder:
        shutil.copytree(
            ROOT / ".dvc", folder / ".dvc", ignore=shutil.ignore_patterns("store", "cache", "tmp")
        )
        lines = ["stages:"]
        for number, stage in enumerate(STAGES):
            (folder / f"{number}.txt").write_text(stage)
            lines += [f"  {stage}:", "    cmd: 'true'", "    deps:", f"      - {number}.txt"]
        (folder / "dvc.yaml").write_text("\n".join(lines) + "\n")
        yield folder


@contextmanager
def repository() -> Iterator[Path]:
    """Make an empty git repository in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="visiongate-") as name:
        subprocess.run(["git", "init", "-q"], cwd=name, check=True)
        yield Path(name)


if __name__ == "__main__":
    main()
