"""What has been tried: experiments as ``dvc exp show`` tells of them, parsed once."""

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from visiongate.adapters.dvc import DvcError, run_dvc
from visiongate.adapters.dvc_retry import insist_dvc
from visiongate.adapters.git import Repository
from visiongate.errors import VisiongateError
from visiongate.experiments.queue import bury_dead
from visiongate.records.dvc_lock import parse_lock

LOCK = Path("dvc.lock")
State = Literal["done", "running", "queued", "failed"]


class ListingError(VisiongateError):
    """DVC tells of experiments in a form that is not known."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """An experiment, or the commit that experiments start from."""

    name: str
    rev: str  # its commit; before it has run, that of the entry in the queue
    baseline: str  # the commit that it started from
    state: State
    params: Mapping[str, Any]  # by dotted name
    metrics: Mapping[str, float]  # by name, or file.name where two files have it
    outs: Mapping[str, str]  # md5 by path
    pid: int | None = None  # of the process that runs it
    log: Path | None = None  # where what it says is kept


@dataclass(frozen=True, slots=True)
class Baseline:
    """A commit, and the experiments that start from it."""

    commit: Experiment
    experiments: tuple[Experiment, ...]


def list_experiments(directory: Path, commits: Sequence[str]) -> list[Baseline]:
    """Ask DVC for the experiments that start from some commits: those that ran, and those in its queue.

    Raises:
        DvcError: DVC failed.
        ListingError: What it tells is not understood.
    """
    wanted = [word for commit in commits for word in ("--rev", commit)]
    command = ["exp", "show", "--json", "--hide-workspace", *wanted]
    try:
        told = run_dvc(command, directory)
    except DvcError:
        bury_dead(directory)
        told = insist_dvc(command, directory)
    repository = Repository(directory)
    try:
        return [_read_baseline(entry, repository) for entry in json.loads(told) if entry["rev"] in commits]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ListingError(f"dvc exp show --json: not understood: {type(error).__name__}: {error}") from None


def _read_baseline(entry: Mapping[str, Any], repository: Repository) -> Baseline:
    commit = _read_experiment(_own(entry, repository), entry["rev"][:7], entry["rev"], None)
    experiments = [
        _read_experiment(_own(tried["revs"][0], repository), tried["name"], entry["rev"], tried["executor"])
        for tried in entry["experiments"] or []
    ]
    return Baseline(commit, tuple(experiments))


def _own(entry: Mapping[str, Any], repository: Repository) -> Mapping[str, Any]:
    """Leave out what a run that ended early did not make itself: it has the metrics of the commit that it started from."""
    text = repository.read(entry["rev"], LOCK) if entry["data"] else None
    if text is None:
        return entry
    stale = parse_lock(text).stale_outputs()
    kept = {
        kind: {path: value for path, value in entry["data"][kind].items() if path not in stale}
        for kind in ("metrics", "outs")
    }
    return {**entry, "data": {**entry["data"], **kept}}


def _read_experiment(
    entry: Mapping[str, Any], name: str | None, baseline: str, executor: Mapping[str, Any] | None
) -> Experiment:
    data = entry["data"] or {"params": {}, "metrics": {}, "outs": {}}
    local = (executor or {}).get("local") or {}
    states: dict[str | None, State] = {state: state for state in get_args(State)}
    trees = (file.get("data") or {} for file in data["params"].values())
    return Experiment(
        name=name or entry["name"] or entry["rev"][:7],
        rev=entry["rev"],
        baseline=baseline,
        state=states.get((executor or {}).get("state"), "done"),
        params=dict(leaf for tree in trees for leaf in leaves(tree)),
        metrics=_merge({Path(path).stem: file.get("data") or {} for path, file in data["metrics"].items()}),
        outs={path: out["hash"] for path, out in data["outs"].items() if out["hash"]},
        pid=local.get("pid"),
        log=Path(local["log"]) if local.get("log") else None,
    )


def _merge(files: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Join the metrics of several files; a name that is in two of them is told apart by the file's."""
    found = [(file, *leaf) for file, tree in files.items() for leaf in leaves(tree) if _is_number(leaf[1])]
    count = Counter(name for _, name, _ in found)
    return {name if count[name] == 1 else f"{file}.{name}": value for file, name, value in found}


def leaves(node: Any, name: str = "") -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - plain values
    """Yield the values of a tree by dotted name; a list, and what is empty, is a value."""
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from leaves(value, f"{name}.{key}".removeprefix("."))
    else:
        yield name, node


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
