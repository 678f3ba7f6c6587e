"""Cost of the search to reach the best score of 20 random trials that are not pruned: ``python benchmarks/optimize.py``.

For each seed, 20 random trials of the space in ``conf/optimize`` are trained completely. Then the search runs with its
settings, from the current settings on, until a trial is as good as the best random one. Both train the same network on the
same images with the same training seed, in one process. The cost is the epochs trained and the seconds, including those of
the sampler. The search ends when it has cost as much as the random trials.

It needs ``data/transformed``: run ``dvc pull`` or ``dvc repro``.
"""

import argparse
import platform
import statistics
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import optuna
import torch

from visiongate.engine.pieces import LocalEngine
from visiongate.optimization.plan import StudyPlan, plan_search
from visiongate.optimization.rounds import StudyRunner
from visiongate.optimization.storage import StudyStorage
from visiongate.optimization.trials import Report
from visiongate.records.history import EpochMetrics
from visiongate.records.search import Values
from visiongate.settings.loading import load_settings, replace_settings
from visiongate.settings.schema import Settings
from visiongate.training.hardware import reproducible
from visiongate.training.loop import Callbacks, fit
from visiongate.training.task import prepare_task

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "data/transformed"
TRIALS = 20
GOAL = 0.25


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of a search, and its best score."""

    epochs: int
    seconds: float
    best: float
    trials: int


class _DoneError(Exception):
    """The target or the limit is reached."""


class Meter:
    """Trains trials, counts them, and ends the search at a target or a limit of epochs."""

    def __init__(self, settings: Settings, target: float | None, limit: int) -> None:
        self._settings, self._target, self._limit = settings, target, limit
        self.epochs = 0
        self.trials = 0
        self.best = float("-inf")

    def __call__(self, _index: int, values: Values, report: Report) -> float:
        """Train one trial."""
        optimize = self._settings.optimize
        tried = replace_settings(self._settings, {**values, "training.epochs": optimize.epochs}, "trial")
        self.trials += 1

        def on_epoch(epoch: EpochMetrics, _speed: float) -> None:
            self.epochs += 1
            report(epoch.epoch, epoch.score(optimize.metric))
            if self.epochs >= self._limit and self._target is not None:
                raise _DoneError

        with reproducible(tried.training.seed):
            task = prepare_task(DATA, tried.network, tried.training)
            value = fit(task, tried.network, tried.training, Callbacks(on_epoch)).best.score(optimize.metric)
        self.best = max(self.best, value)
        if self._target is not None and value >= self._target:
            raise _DoneError
        return value


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description="Measure what the search costs.")
    parser.add_argument("--seeds", type=int, default=9)
    options = parser.parse_args()
    if not DATA.exists():
        sys.exit(f"{DATA}: no such folder; run `dvc pull` or `dvc repro`")
    settings = load_settings(ROOT / "params.yaml")
    print(
        f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"optuna {optuna.__version__}; {settings.dataset.name}, {settings.model.name}, {settings.optimize.metric}"
    )
    print(
        f"{'seed':>4}{'random: best':>14}{'epochs':>8}{'seconds':>9}"
        f"{'search: best':>14}{'trials':>8}{'epochs':>8}{'seconds':>9}"
    )
    pairs = []
    for seed in range(options.seeds):
        pair = compare(
            replace_settings(settings, {"optimize.seed": seed, "training.seed": seed}, "benchmark")
        )
        pairs.append(pair)
        drawn, found = pair
        print(
            f"{seed:4}{drawn.best:14.4f}{drawn.epochs:8}{drawn.seconds:9.1f}"
            f"{found.best:14.4f}{found.trials:8}{found.epochs:8}{found.seconds:9.1f}",
            flush=True,
        )
    print_ratios(pairs)


def compare(settings: Settings) -> tuple[Cost, Cost]:
    """Run the random trials, then the search up to their best score."""
    random = replace_settings(
        settings, {"optimize.sampler": "random", "optimize.pruner": "none"}, "benchmark"
    )
    plan = replace(plan_search(random, "random"), trials=TRIALS, fixed={})
    drawn = measure(plan, Meter(random, None, 0))
    plan = replace(plan_search(settings, "search"), trials=10 * TRIALS)
    return drawn, measure(plan, Meter(settings, drawn.best, drawn.epochs))


def measure(plan: StudyPlan, meter: Meter) -> Cost:
    """Run a study until it ends or the meter stops it."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, suppress(_DoneError):
        StudyRunner(StudyStorage(Path(folder, "journal")), LocalEngine()).run(plan, meter)
    return Cost(meter.epochs, time.perf_counter() - started, meter.best, meter.trials)


def print_ratios(pairs: list[tuple[Cost, Cost]]) -> None:
    """Print the cost of the search, divided by that of the random trials."""
    epochs = [found.epochs / drawn.epochs for drawn, found in pairs]
    seconds = [found.seconds / drawn.seconds for drawn, found in pairs]
    reached = sum(found.best >= drawn.best for drawn, found in pairs)
    print(f"reached in {reached} of {len(pairs)}; cost divided by that of the random trials, goal {GOAL}:")
    for name, ratios in {"epochs": epochs, "seconds": seconds}.items():
        print(
            f"{name:>8}: median {statistics.median(ratios):.2f}, mean {statistics.mean(ratios):.2f}, "
            f"{min(ratios):.2f} to {max(ratios):.2f}"
        )


if __name__ == "__main__":
    main()
