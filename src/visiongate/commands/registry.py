"""``visiongate registry``: list, compare, roll back and trace registered models."""

import json
from pathlib import Path

from visiongate import paths
from visiongate.adapters.git import Repository
from visiongate.adapters.mlflow.store import Store, open_store
from visiongate.registry import rollback
from visiongate.registry.listing import export_versions, format_best_runs, format_versions
from visiongate.registry.rebuild import Training, rebuild
from visiongate.registry.trace import format_trace, trace_version
from visiongate.settings.loading import load_settings

TRAINING = Training("train", paths.TRANSFORMED, paths.MODEL_ONNX)


def show(*, as_json: bool) -> int:
    """List the versions."""
    store, name = _open()
    print(json.dumps(export_versions(store, name), indent=2) if as_json else format_versions(store, name))
    return 0


def roll_back(to: str | None, reason: str, *, force: bool) -> int:
    """Make an earlier champion the champion again."""
    store, name = _open()
    version = rollback.roll_back(store, name, to, reason, force=force)
    print(f"{version.name} version {version.number} is champion")
    return 0


def compare(top: int, metric: str) -> int:
    """Compare the best runs."""
    store, name = _open()
    print(format_best_runs(store, name, metric, top))
    return 0


def trace(version: str | None, *, verify: bool) -> int:
    """Print what a version was made from; rebuild it on request. Return 1 if the rebuilt model differs."""
    store, name = _open()
    found = trace_version(store, version or f"models:/{name}@champion")
    print(format_trace(found, Repository(Path.cwd()).address()), flush=True)
    if not verify:
        return 0
    result = rebuild(found, TRAINING)
    print(f"\n{result}")
    return 0 if result.is_identical else 1


def _open() -> tuple[Store, str]:
    """Open the store; return it with the name of the registered model."""
    settings = load_settings()
    return open_store(settings.tracking), settings.registry.name
