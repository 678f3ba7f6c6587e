"""``visiongate registry``: list, compare, roll back and trace registered models."""

import json
from pathlib import Path

from visiongate import paths
from visiongate.adapters.git import Repository
from visiongate.adapters.mlflow.store import Store, open_store
from visiongate.registry.leaderboard import Board, compare_runs
from visiongate.registry.overview import describe_registry, export_registry
from visiongate.registry.rebuild import Plan, Rebuilt, rebuild
from visiongate.registry.rollback import rollback
from visiongate.registry.trace import Trace, describe_trace, trace_version
from visiongate.settings.loading import load_settings

PLAN = Plan("train", paths.TRANSFORMED, paths.MODEL_ONNX)


def show(*, as_json: bool) -> int:
    """List the versions."""
    store, name = _open()
    text = json.dumps(export_registry(store, name), indent=2) if as_json else describe_registry(store, name)
    print(text)
    return 0


def roll_back(to: str | None, reason: str, *, force: bool) -> int:
    """Make an earlier champion the champion again."""
    store, name = _open()
    version = rollback(store, name, to, reason, force=force)
    print(f"{version.name}: version {version.number} is champion")
    return 0


def compare(top: int, metric: str) -> int:
    """Compare the best runs."""
    store, name = _open()
    print(compare_runs(store, Board(metric, top, name)))
    return 0


def trace(version: str | None, *, verify: bool) -> int:
    """Print what a version was made from; rebuild it on request. Return 1 if the rebuilt model differs."""
    store, name = _open()
    found = trace_version(store, version or f"models:/{name}@champion")
    print(describe_trace(found, Repository(Path.cwd()).address()))
    return _verify(found) if verify else 0


def _open() -> tuple[Store, str]:
    """Open the store; return it with the name of the registered model."""
    settings = load_settings()
    return open_store(settings.tracking), settings.registry.name


def _verify(found: Trace) -> int:
    print()
    rebuilt = rebuild(found, PLAN, lambda line: print(line, flush=True))
    print(_tell(rebuilt))
    return 0 if rebuilt.same else 1


def _tell(rebuilt: Rebuilt) -> str:
    differences = "".join(f"\n  {difference}" for difference in rebuilt.differences)
    if rebuilt.same:
        return f"The same: {PLAN.model} has md5 {rebuilt.found} again, after {rebuilt.seconds:.0f} s"
    return (
        f"Not the same: {PLAN.model} has md5 {rebuilt.found}, not {rebuilt.expected}; what differs between then and now:"
        f"{differences or chr(10) + '  nothing that is recorded'}"
    )
