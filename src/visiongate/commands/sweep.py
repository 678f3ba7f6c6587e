"""``visiongate sweep``: run an experiment for every combination of values."""

import logging
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from visiongate import paths
from visiongate.adapters.git import Repository
from visiongate.commands.experiments import Query, show
from visiongate.errors import SettingsError
from visiongate.experiments.grid import Combination, SweepIdentity, plan_sweep, read_list
from visiongate.experiments.queue import Queue
from visiongate.experiments.sweep import Status, Sweep, SweepResult
from visiongate.settings.composition import CONF
from visiongate.text_tables import join_first

PIPELINE = Path("dvc.yaml")
MAX_COMBINATIONS, MAX_FORCED = 200, 100_000
# Two trainings of a small network with one thread each need a third less time than one after the other with two threads.
DEFAULT_JOBS = min(2, os.cpu_count() or 1)
# Files that the pipeline writes. Their changes are not part of an experiment.
WRITTEN = (paths.PARAMS, paths.LOCK, Path("reports"))
# Folders whose untracked files an experiment lacks.
INPUT_FOLDERS = ("src", "conf", "data")
MAX_NAMED_FILES = 5
logger = logging.getLogger(__name__)


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
    identity = SweepIdentity(options.name, commit, options.stage, changes)
    lines = [list(options.overrides)] if options.file is None else read_list(options.file)
    limit = MAX_FORCED if options.force else MAX_COMBINATIONS
    combinations = plan_sweep(lines, CONF, identity, limit)
    queue = Queue(directory, commit, options.stage, options.jobs or DEFAULT_JOBS)
    sweep = Sweep(combinations, queue)
    _warn(changed, repository.untracked([folder for folder in INPUT_FOLDERS if Path(folder).is_dir()]))
    if options.dry_run:
        _print_plan(sweep.classify(queue.list_experiments()))
        return 0
    return _print_result(sweep.run(), options.metric, directory)


def _check(options: Options) -> None:
    if bool(options.overrides) == (options.file is not None):
        raise SettingsError("give overrides, such as model.lr=0.01,0.02, or --list FILE")
    if not re.fullmatch(r"[A-Za-z0-9][\w-]*", options.name):
        raise SettingsError(f"--name {options.name} is invalid: use letters, digits, - and _")
    try:
        stages = list(yaml.safe_load(PIPELINE.read_text(encoding="utf-8"))["stages"])
    except FileNotFoundError:
        raise SettingsError(f"{PIPELINE}: no such file; change to the root of the repository") from None
    if options.stage not in stages:
        raise SettingsError(f"--stage {options.stage}: unknown stage; the stages are {', '.join(stages)}")


def _warn(changed: list[str], untracked: list[str]) -> None:
    if changed:
        logger.warning(
            "Uncommitted changes are part of each experiment: %s", join_first(changed, MAX_NAMED_FILES)
        )
    if untracked:
        logger.warning(
            "Untracked files are missing in each experiment; run git add: %s",
            join_first(untracked, MAX_NAMED_FILES),
        )


def _print_plan(groups: Mapping[Status, Sequence[Combination]]) -> None:
    words: dict[Status, str] = {"done": "has run", "queued": "is queued", "new": "would run"}
    for status, combinations in groups.items():
        for combination in combinations:
            print(f"{words[status]}  {combination.name}  {combination.label}")


def _print_result(result: SweepResult, metric: str, directory: Path) -> int:
    if result.done:
        show(Query(metric), directory)
    for name, lines in result.failed.items():
        print(f"sweep: {name} failed:", *lines, sep="\n  ", file=sys.stderr)
    if result.failed:
        print(f"sweep: {len(result.failed)} failed; run the same command to retry them", file=sys.stderr)
    return 1 if result.failed else 0
