"""``visiongate sweep``: run an experiment for every combination of values."""

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from visiongate import paths
from visiongate.adapters.git import FinishedExperiments, Repository
from visiongate.commands.experiments import Question, show
from visiongate.errors import SettingsError
from visiongate.experiments.grid import MOST, Combination, Identity, plan_sweep, read_grid, read_list
from visiongate.experiments.queue import Queue, Work
from visiongate.experiments.sweep import Outcome, Sweep
from visiongate.settings.composition import CONF

PIPELINE = Path("dvc.yaml")
FORCED = 100_000
# Two trainings of a small network with a thread each take a third less of the processor than one after the other with two.
JOBS = min(2, os.cpu_count() or 1)
# What the line writes is no change of what it is given.
WRITTEN = (paths.PARAMS, paths.LOCK, Path("reports"))
COPIED = ("src", "conf", "data")  # where a file that git does not track would be missed
NAMED = 5  # files that are named


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of the command."""

    overrides: tuple[str, ...]
    file: Path | None
    jobs: int | None
    stage: str
    name: str
    metric: str
    dry_run: bool
    force: bool


def run(**options: Any) -> int:  # noqa: ANN401 - the fields of `Options`
    """Run the sweep; return 1 if an experiment failed.

    Raises:
        VisiongateError: An option or a combination is invalid, or DVC failed.
    """
    return _run(Options(**options), Path.cwd())


def _run(options: Options, directory: Path) -> int:
    repository = Repository(directory)
    commit = repository.commit("HEAD")
    _check(options)
    changed, changes = repository.changes(WRITTEN)
    identity = Identity(options.name, commit, options.stage, changes)
    lines = read_grid(" ".join(options.overrides)) if options.file is None else read_list(options.file)
    combinations = plan_sweep(lines, CONF, identity, FORCED if options.force else MOST)
    queue = Queue(Work(directory, commit, options.stage, options.jobs or JOBS))
    sweep = Sweep(
        combinations, queue, FinishedExperiments(repository, commit), lambda line: print(line, flush=True)
    )
    _warn(changed, repository.untracked([folder for folder in COPIED if (directory / folder).is_dir()]))
    if options.dry_run:
        _tell_plan(sweep.sort(queue.look()))
        return 0
    queue.check()
    outcome = sweep.run()
    print()
    return _conclude(outcome, options.metric, directory)


def _check(options: Options) -> None:
    if bool(options.overrides) == (options.file is not None):
        raise SettingsError("give overrides, such as model.lr=0.01,0.02, or --list FILE")
    if not re.fullmatch(r"[A-Za-z0-9][\w-]*", options.name):
        raise SettingsError(f"--name {options.name} is invalid: use letters, digits, - and _")
    try:
        stages = list(yaml.safe_load(PIPELINE.read_text(encoding="utf-8"))["stages"])
    except FileNotFoundError:
        raise SettingsError(f"{PIPELINE}: no such file; call this in the root of the repository") from None
    if options.stage not in stages:
        raise SettingsError(f"--stage {options.stage}: unknown stage; the stages are {', '.join(stages)}")


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
