"""Cost of the search to reach the best score of 20 random trials that are not pruned: ``make bench BENCH=optimize``.

- ``python benchmarks/optimize.py digits``: small_cnn on the embedded digits, cross-validated;
- ``python benchmarks/optimize.py mnist --images FOLDER``: the network of ``experiment=mnist_fast`` on 10,000 images of MNIST;
- ``python benchmarks/optimize.py cats_dogs --images ZIP``: the classifier of ``experiment=photos`` on cached features.

Random trials of the space in ``conf/optimize/space`` are trained completely, and each study compares with the best of 20 of
them. Its search runs with the settings in ``conf`` until a complete trial is as good. Both are judged on the same images, with
the same seed of training; the studies differ in the random trials and in the seed of the sampler. The cost is the epochs of
all folds, divided by those of the 20 random trials; a probe has one epoch a fold. Scores are compared as the report shows them,
with four digits. A search that reaches as many epochs has failed, and costs 1.

To see how much of a score is luck, the best settings of both are trained again with other folds and another seed; ``--again 0``
leaves it out.

``--folder`` keeps the pixel arrays and the trained trials; the same command resumes. ``--random 180`` gives each of nine
studies random trials of its own; with fewer, the studies draw them from the same ones.
"""

import argparse
import hashlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import numpy as np
import optuna
import torch
import yaml

from visiongate.engine.pieces import LocalEngine
from visiongate.errors import VisiongateError
from visiongate.optimization.judging import load_judging_images
from visiongate.optimization.measuring import measure_trial
from visiongate.optimization.plan import plan_search
from visiongate.optimization.proposals import History
from visiongate.optimization.pruning import Race
from visiongate.optimization.rounds import StudyRunner
from visiongate.optimization.storage import StudyStorage
from visiongate.optimization.trials import Report
from visiongate.optimization.workers import trial_threads
from visiongate.records.files import write_text
from visiongate.records.history import EpochMetrics
from visiongate.records.search import Values
from visiongate.settings.composition import compose_params
from visiongate.settings.loading import parse_settings, replace_settings
from visiongate.settings.model import Model
from visiongate.settings.schema import Settings

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("ingestion", "validation", "preparation", "transformation")
PROBLEMS = {
    "digits": ["dataset=digits"],
    "mnist": ["experiment=mnist_fast", "dataset.limit=10000", "optimize=default", "optimize.epochs=4"],
    "cats_dogs": ["dataset=cats_dogs", "experiment=photos"],
}
TRIALS = 20
GOAL = 0.25
# Of a score in the report. Smaller differences are chance on thousands of images.
DIGITS = 4
# Far from the seeds of the studies.
FRESH_SEED = 1000


@dataclass(frozen=True, slots=True)
class Trial:
    """A complete trial; a failed one has the score minus infinity."""

    values: Values
    score: float
    epochs: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """The best of a study's random trials and of its search, the number of its trials, and its cost."""

    random: Trial
    found: Trial
    trials: int
    ratio: float


class _DoneError(Exception):
    """The target or the limit is reached."""


class Trials:
    """Measures trials completely, and keeps the results in a file.

    Args:
        settings: The settings that the values of a trial replace.
        folder: Contains ``data/transformed``.
    """

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings, self._folder = settings, folder
        key = settings.model_dump(include={"dataset", "model", "training"}), settings.optimize.epochs
        judged = [getattr(settings.optimize, name) for name in ("folds", "min_val_images", "metric")]
        self._name = hashlib.sha256(json.dumps([key, judged], default=str).encode()).hexdigest()[:12]
        self._file = folder / f"trials-{self._name}.jsonl"
        lines = self._file.read_text().splitlines() if self._file.exists() else []
        self._known = {row["key"]: Trial(**row["trial"]) for row in map(json.loads, lines)}

    def measure(self, values: Values, seed: int = 0) -> Trial:
        """Train a trial completely, or read it from the file."""
        key = json.dumps([values, seed], sort_keys=True)
        if key not in self._known:
            trial = self._measure(values, seed)
            row: dict[str, Any] = {
                "key": key,
                "trial": {"values": values, "score": trial.score, "epochs": trial.epochs},
            }
            with self._file.open("a") as file:
                file.write(json.dumps(row) + "\n")
            self._known[key] = trial
        return self._known[key]

    def _measure(self, values: Values, seed: int) -> Trial:
        steps = list[int]()
        changed = {**values, "training.seed": seed, "optimize.seed": seed}
        tried = replace_settings(self.settings, changed, "trial")
        try:
            score = measure_trial(
                tried, self._folder / "data/transformed", lambda step, _epoch, _score: steps.append(step)
            )
        except VisiongateError:
            score = float("-inf")
        return Trial(values, score, len(steps))


class Search:
    """Runs trials of a search until the target or the limit of epochs is reached, and counts them."""

    def __init__(self, settings: Settings, directory: Path, target: float, limit: int) -> None:
        self._settings, self._directory, self._target, self._limit = settings, directory, target, limit
        self.epochs = self.trials = 0
        self.best = Trial({}, float("-inf"), 0)

    def __call__(self, _index: int, values: Values, report: Report) -> float:
        """Train one trial."""
        self.trials += 1

        def on_step(step: int, _epoch: EpochMetrics, score: float) -> None:
            self.epochs += 1
            report(step, score)
            if self.epochs >= self._limit:
                raise _DoneError

        score = measure_trial(replace_settings(self._settings, values, "trial"), self._directory, on_step)
        if score > self.best.score:
            self.best = Trial(values, score, self.epochs)
        if is_reached(score, self._target):
            raise _DoneError
        return score


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description="Measure what the search costs.")
    parser.add_argument("problem", nargs="?", choices=PROBLEMS, default="digits")
    parser.add_argument("--images", type=Path, help="of mnist: its four files; of cats_dogs: an archive")
    parser.add_argument("--studies", type=int, default=9)
    parser.add_argument("--random", type=int, default=60, help=f"random trials, a multiple of {TRIALS}")
    parser.add_argument("--again", type=int, default=9, help="studies whose best settings are trained again")
    parser.add_argument("--folder", type=Path, help="keeps the arrays and the trials")
    parser.add_argument("overrides", nargs="*", help="settings, such as optimize.pruner=none")
    options = parser.parse_intermixed_args()
    if options.random < TRIALS or options.random % TRIALS:
        parser.error(f"argument --random: {options.random} is no multiple of {TRIALS}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)) / options.problem
        settings = prepare(folder, [*PROBLEMS[options.problem], *options.overrides], options.images)
        measure(settings, folder, options)


def prepare(folder: Path, overrides: Sequence[str], images: Path | None) -> Settings:
    """Write the pixel arrays, if they are not there, and return the settings of a trial."""
    path = [] if images is None else [f"dataset.path={images.resolve()}"]
    text = compose_params(ROOT / "conf", [*overrides, *path])
    (folder / "data").mkdir(parents=True, exist_ok=True)
    write_text(folder / "params.yaml", text)
    if not (folder / "data/transformed/transform.json").exists():
        shutil.copytree(ROOT / "conf", folder / "conf", dirs_exist_ok=True)
        for name in ("collected.csv", "corrections.csv"):
            shutil.copy(ROOT / "data" / name, folder / "data")
        for stage in STAGES:
            subprocess.run([sys.executable, ROOT / "src/run.py", stage], cwd=folder, check=True)
    settings = parse_settings(yaml.safe_load(text), "conf/")
    optimize = settings.optimize
    epochs = optimize.epochs if isinstance(settings.model, Model) else 1
    fixed = {"training.epochs": epochs, "optimize.epochs": epochs, "training.seed": 0, "optimize.seed": 0}
    return replace_settings(settings, fixed, "benchmark")


def measure(settings: Settings, folder: Path, options: argparse.Namespace) -> None:
    """Run the random trials and the studies, and print them."""
    torch.set_num_threads(trial_threads(settings, settings.transformation.size))
    directory, optimize = folder / "data/transformed", settings.optimize
    images = load_judging_images(directory, optimize)
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}, optuna {optuna.__version__}\n"
        f"{settings.dataset.name}, {settings.model.name}, {optimize.metric}; {optimize.epochs} epochs on {len(images)} folds, "
        f"judged on {images.describe()}; {optimize.sampler}, {optimize.pruner}; {options.random} random trials"
    )
    trials = Trials(settings, folder)
    drawn = [trials.measure(values) for values in draw(settings, options.random)]
    print(f"{'study':>5}{'random':>9}{'search':>9}{'trials':>8}{'cost':>7}{'again: random':>15}{'search':>9}")
    results, again = [], []
    for study in range(options.studies):
        result = compare(settings, directory, choose(drawn, study), study)
        results.append(result)
        print(
            f"{study:5}{result.random.score:9.4f}{result.found.score:9.4f}{result.trials:8}{result.ratio:7.3f}",
            end="",
            flush=True,
        )
        if study < options.again:
            pair = [
                trials.measure(each.values, FRESH_SEED + study).score
                for each in (result.random, result.found)
            ]
            again.append(pair[1] - pair[0])
            print(f"{pair[0]:15.4f}{pair[1]:9.4f}", end="")
        print(flush=True)
    summarize(results, again)


def draw(settings: Settings, count: int) -> list[Values]:
    """Return the values of random trials."""
    random = replace_settings(
        settings, {"optimize.sampler": "random", "optimize.pruner": "none"}, "benchmark"
    )
    history = History(plan_search(random, "random"))
    return [history.propose(index).params for index in range(count)]


def choose(drawn: Sequence[Trial], study: int) -> list[Trial]:
    """Return the random trials of a study: the next ones of a shuffle, which is repeated when all are used."""
    blocks = len(drawn) // TRIALS
    order = np.random.default_rng(study // blocks).permutation(len(drawn))
    return [drawn[index] for index in order[study % blocks * TRIALS :][:TRIALS]]


def compare(settings: Settings, directory: Path, drawn: Sequence[Trial], study: int) -> Comparison:
    """Run the search up to the best of the random trials."""
    best, limit = max(drawn, key=lambda trial: trial.score), sum(trial.epochs for trial in drawn)
    sampled = replace_settings(settings, {"optimize.seed": study}, "benchmark")
    folds = len(load_judging_images(directory, settings.optimize))
    plan = replace(plan_search(sampled, "search", Race(folds=folds)), trials=10 * TRIALS)
    search = Search(settings, directory, best.score, limit)
    with tempfile.TemporaryDirectory() as folder, suppress(_DoneError):
        StudyRunner(StudyStorage(Path(folder, "journal")), LocalEngine()).run(plan, search)
    ratio = search.epochs / limit if is_reached(search.best.score, best.score) else 1.0
    return Comparison(best, search.best, search.trials, ratio)


def is_reached(score: float, target: float) -> bool:
    """Return whether a score is as good as the target, as the report shows both."""
    return round(score, DIGITS) >= round(target, DIGITS)


def summarize(results: Sequence[Comparison], gains: Sequence[float]) -> None:
    """Print the median cost, and what the scores are worth on other folds."""
    ratios = [result.ratio for result in results]
    print(
        f"reached in {sum(ratio < 1 for ratio in ratios)} of {len(results)}; cost: median {statistics.median(ratios):.3f}, "
        f"mean {statistics.mean(ratios):.3f}, {min(ratios):.3f} to {max(ratios):.3f}; goal {GOAL}"
    )
    if gains:
        print(f"search minus random, measured again: mean {statistics.mean(gains):+.4f}")


if __name__ == "__main__":
    main()
