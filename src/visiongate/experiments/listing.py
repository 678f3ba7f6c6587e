"""Experiments as ``dvc exp show --json`` lists them."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from visiongate.adapters.dvc_retry import run_dvc_with_retries
from visiongate.adapters.git import SHORT_COMMIT, Repository
from visiongate.errors import VisiongateError
from visiongate.records.dvc_lock import parse_lock
from visiongate.records.parsing import is_finite

LOCK = Path("dvc.lock")
MAX_LOG_LINES = 6
State = Literal["done", "running", "queued", "failed"]


class ListingError(VisiongateError):
    """DVC lists experiments in an unknown format."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """An experiment, or the commit that experiments start from.

    Attributes:
        name: Its name; of a commit, the first digits of its hash.
        rev: Its commit; before it has run, that of the queue's entry.
        baseline: The commit that it starts from.
        state: ``done``, ``running``, ``queued`` or ``failed``.
        params: Every parameter by dotted name.
        metrics: Every metric by name; by ``file.name`` if two files have it.
        outs: The md5 of each output by path.
        log: The file with the output of a run that DVC's queue started.
    """

    name: str
    rev: str
    baseline: str
    state: State
    params: Mapping[str, Any]
    metrics: Mapping[str, float]
    outs: Mapping[str, str]
    log: Path | None = None

    def last_lines(self) -> list[str]:
        """Return the last lines of the log."""
        if self.log is None or not self.log.exists():
            return []
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return [line.strip() for line in lines if line.strip()][-MAX_LOG_LINES:]


@dataclass(frozen=True, slots=True)
class Baseline:
    """A commit, and the experiments that start from it."""

    commit: Experiment
    experiments: tuple[Experiment, ...]


def list_experiments(directory: Path, commits: Sequence[str]) -> list[Baseline]:
    """List the experiments that start from some commits: finished, failed, running and queued.

    Raises:
        DvcError: DVC failed.
        ListingError: DVC's output has an unknown format.
    """
    revisions = [word for commit in commits for word in ("--rev", commit)]
    output = run_dvc_with_retries(["exp", "show", "--json", "--hide-workspace", *revisions], directory)
    repository = Repository(directory)
    try:
        return [_parse_baseline(entry, repository) for entry in json.loads(output) if entry["rev"] in commits]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ListingError(
            f"dvc exp show --json: unknown format ({error!r}); install the version of DVC in requirements.lock"
        ) from None


def leaves(node: Any, name: str = "") -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - plain values
    """Yield the values of a tree by dotted name. Lists and empty mappings are values."""
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from leaves(value, f"{name}.{key}".removeprefix("."))
    else:
        yield name, node


def _parse_baseline(entry: Mapping[str, Any], repository: Repository) -> Baseline:
    rev = entry["rev"]
    commit = _parse_experiment(entry, rev[:SHORT_COMMIT], rev, {}, repository)
    experiments = [
        _parse_experiment(each["revs"][0], each["name"], rev, each["executor"] or {}, repository)
        for each in entry["experiments"] or []
    ]
    return Baseline(commit, tuple(experiments))


def _parse_experiment(
    entry: Mapping[str, Any],
    name: str | None,
    baseline: str,
    executor: Mapping[str, Any],
    repository: Repository,
) -> Experiment:
    data = entry["data"] or {"params": {}, "metrics": {}, "outs": {}}
    stale = _stale_outputs(entry, repository)
    states: dict[str | None, State] = {state: state for state in get_args(State)}
    log = (executor.get("local") or {}).get("log")
    params = (file.get("data") or {} for file in data["params"].values())
    metrics = {path: file.get("data") or {} for path, file in data["metrics"].items() if path not in stale}
    return Experiment(
        name=name or entry["name"] or entry["rev"][:SHORT_COMMIT],
        rev=entry["rev"],
        baseline=baseline,
        state=states.get(executor.get("state"), "done"),
        params=dict(leaf for tree in params for leaf in leaves(tree)),
        metrics=_merge_metrics({Path(path).stem: tree for path, tree in metrics.items()}),
        outs={path: out["hash"] for path, out in data["outs"].items() if out["hash"] and path not in stale},
        log=Path(log) if log else None,
    )


def _stale_outputs(entry: Mapping[str, Any], repository: Repository) -> set[str]:
    """Return the outputs that a run of only some stages did not make: they are those of the commit that it started from."""
    text = repository.read(entry["rev"], LOCK) if entry["data"] else None
    return set() if text is None else parse_lock(text).stale_outputs()


def _merge_metrics(files: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Join the metrics of several files; a name that two files have is prefixed with the file's."""
    values = [(file, *leaf) for file, tree in files.items() for leaf in leaves(tree) if is_finite(leaf[1])]
    count = Counter(name for _, name, _ in values)
    return {name if count[name] == 1 else f"{file}.{name}": value for file, name, value in values}
