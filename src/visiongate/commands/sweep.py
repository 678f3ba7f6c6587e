"""Try many settings: ``make sweep GRID='model.lr=0.01,0.02' | LIST=file [JOBS=2] [STAGE=evaluate] [NAME=sweep] [DRY=1]``."""

import argparse
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from visiongate import paths
from visiongate.adapters.git import Finished, Repository
from visiongate.commands.experiments import METRIC, Question, show
from visiongate.errors import SettingsError, VisiongateError
from visiongate.experiments.grid import MOST, Combination, Identity, plan_sweep, read_grid, read_list
from visiongate.experiments.queue import Queue, Work
from visiongate.experiments.sweep import Outcome, Sweep
from visiongate.settings.composition import CONF

PIPELINE = Path("dvc.yaml")
STAGE = "evaluate"  # neither a search nor a registration for each trial
PREFIX = "sweep"
FORCED = 100_000
# Two trainings of a small network with a thread each take a third less of the processor than one after the other with two.
JOBS = min(2, os.cpu_count() or 1)
# What the line writes is no change of what it is given.
WRITTEN = (paths.PARAMS, paths.LOCK, Path("reports"))
COPIED = ("src", "conf", "data")  # where a file that git does not track would be missed
NAMED = 5  # files that are named


def main(arguments: list[str]) -> int:
    """Run the sweep that the arguments describe; return the exit status: 1 where an experiment failed."""
    options = _parser().parse_args(arguments)
    try:
        return _run(options, Path.cwd())
    except VisiongateError as error:
        print(f"sweep: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "\nsweep: interrupted. What is queued goes on in the background: the same command waits for it again, and "
            "`dvc queue stop --kill` ends it",
            file=sys.stderr,
        )
        return 130


def _run(options: argparse.Namespace, directory: Path) -> int:
    repository = Repository(directory)
    commit = repository.commit("HEAD")
    _check(options)
    changed, changes = repository.changes(WRITTEN)
    identity = Identity(options.name, commit, options.stage, changes)
    lines = read_grid(options.grid) if options.grid is not None else read_list(Path(options.list))
    combinations = plan_sweep(lines, CONF, identity, FORCED if options.force else MOST)
    queue = Queue(Work(directory, commit, options.stage, options.jobs))
    sweep = Sweep(combinations, queue, Finished(repository, commit), lambda line: print(line, flush=True))
    _warn(changed, repository.untracked([folder for folder in COPIED if (directory / folder).is_dir()]))
    if options.dry:
        _tell_plan(sweep.sort(queue.look()))
        return 0
    queue.check()
    outcome = sweep.run()
    print()
    return _conclude(outcome, options.metric, directory)


def _check(options: argparse.Namespace) -> None:
    if (options.grid is None) == (options.list is None):
        raise SettingsError("give either GRID='model.lr=0.01,0.02' or LIST=file")
    if not re.fullmatch(r"[A-Za-z0-9][\w-]*", options.name):
        raise SettingsError(
            f"NAME={options.name}: it is made of letters, digits, - and _, as it begins names"
        )
    if options.jobs < 1:
        raise SettingsError(f"JOBS={options.jobs}: give 1 or more")
    try:
        stages = list(yaml.safe_load(PIPELINE.read_text(encoding="utf-8"))["stages"])
    except FileNotFoundError:
        raise SettingsError(f"{PIPELINE}: no such file; call this in the root of the repository") from None
    if options.stage not in stages:
        raise SettingsError(f"STAGE={options.stage}: no such stage; there are {', '.join(stages)}")


def _warn(changed: list[str], untracked: list[str]) -> None:
    if changed:
        print(f"Not committed, and part of each experiment: {_name(changed)}")
    if untracked:
        print(f"Not known to git, so that no experiment sees it (git add makes it known): {_name(untracked)}")


def _name(files: list[str]) -> str:
    more = f" and {len(files) - NAMED} more" if len(files) > NAMED else ""
    return ", ".join(files[:NAMED]) + more


def _tell_plan(groups: Mapping[str, Sequence[Combination]]) -> None:
    words = {"done": "has run", "waiting": "is queued", "new": "would run"}
    for group, combinations in groups.items():
        for combination in combinations:
            print(f"{words[group]}  {combination.name}  {combination.label}")


def _conclude(outcome: Outcome, metric: str, directory: Path) -> int:
    if outcome.done:
        show(Question(metric), directory)
    for name, lines in outcome.failed.items():
        said = "\n  ".join(lines)
        print(f"sweep: {name} failed; it said last:\n  {said}", file=sys.stderr)
    if outcome.failed:
        print(
            f"sweep: {len(outcome.failed)} failed; the same command runs them again, and only them",
            file=sys.stderr,
        )
    return 1 if outcome.failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make sweep", description="Run experiments by a grid or a list.")
    parser.add_argument("--grid", help="overrides whose values, separated by commas, are combined")
    parser.add_argument("--list", help="a file with overrides on each line")
    parser.add_argument("--jobs", type=int, default=JOBS, help="experiments at a time")
    parser.add_argument("--stage", default=STAGE, help="the last stage that runs")
    parser.add_argument("--name", default=PREFIX, help="what the experiments' names begin with")
    parser.add_argument("--metric", default=METRIC, help="that the table is sorted by")
    parser.add_argument("--dry", action="store_true", help="say what would run, and run nothing")
    parser.add_argument("--force", action="store_true", help=f"allow more than {MOST} combinations")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
