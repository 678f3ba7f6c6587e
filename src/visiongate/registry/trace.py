"""Where a registered model comes from, and how to make it again."""

import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visiongate.adapters.git import UNKNOWN
from visiongate.adapters.mlflow.registry import Version, find_number, read_aliases, unless_missing
from visiongate.adapters.mlflow.runs import MODEL_TAG
from visiongate.adapters.mlflow.store import Store, TrackingError, mlflow_errors

ENVIRONMENT, SETTINGS = "environment.json", "params.yaml"
DATA_TAG = re.compile(r"visiongate\.(data_\w+)_md5")


@dataclass(frozen=True, slots=True)
class Trace:
    """What a version was made from."""

    version: Version
    commit: str  # or "unknown"
    dirty: str  # "true", "false" or "unknown"
    data_md5: Mapping[str, str]
    params: Mapping[str, str]  # out of its run
    environment: Mapping[str, Any]  # of its training; empty where its run was made from the records
    settings: str | None = None  # params.yaml when it was registered, where the run has it

    @property
    def model_md5(self) -> str:
        """Of the model's file, as DVC hashes it."""
        return self.version.tags.get("visiongate.model_md5", UNKNOWN)


def trace_version(store: Store, uri: str) -> Trace:
    """Find out what a version was made from.

    Args:
        store: Where.
        uri: ``models:/NAME/3`` or ``models:/NAME@champion``.

    Raises:
        TrackingError: MLflow failed, or there is no such version.
    """
    version = _resolve(store, uri)
    with mlflow_errors(store.address):
        run = unless_missing(lambda: store.client.get_run(version.run_id))
        environment = json.loads(_read_artifact(store, version.run_id, ENVIRONMENT) or "{}") if run else {}
        settings = _read_artifact(store, version.run_id, SETTINGS) if run else None
    tags = version.tags
    data = {
        match[1].replace("_", "/", 1): tags[tag] for tag in sorted(tags) if (match := DATA_TAG.fullmatch(tag))
    }
    return Trace(
        version=version,
        commit=tags.get("mlflow.source.git.commit", UNKNOWN),
        dirty=tags.get("visiongate.git_dirty", UNKNOWN),
        data_md5=data,
        params=run.data.params if run else {},
        environment=environment,
        settings=settings,
    )


def describe_trace(trace: Trace, source: str) -> str:
    """Say it in lines, with the commands that make the model again.

    Args:
        trace: Of the version.
        source: Where the repository can be cloned from.
    """
    tags, environment = trace.version.tags, trace.environment
    packages = ", ".join(f"{name} {version}" for name, version in environment.get("packages", {}).items())
    aliases = f" ({', '.join(trace.version.aliases)})" if trace.version.aliases else ""
    changed = {"true": "tracked files differed from it", "false": "clean"}.get(
        trace.dirty, "clean or not: unknown"
    )
    lines = [
        ("commit", f"{trace.commit} ({changed})"),
        *((path, f"md5 {md5}") for path, md5 in trace.data_md5.items()),
        ("dvc.lock", tags.get("visiongate.dvc_lock", UNKNOWN)),
        ("parameters", f"sha256 {tags.get('visiongate.params_sha256', UNKNOWN)}"),
        ("", f"{len(trace.params)} of them in run {trace.version.run_id}"),
        ("python", str(environment.get("python", UNKNOWN))),
        ("platform", str(environment.get("platform", UNKNOWN))),
        ("processor", f"{environment.get('cpu', UNKNOWN)}, {environment.get('cores', UNKNOWN)} cores"),
        ("packages", packages or UNKNOWN),
        ("model", f"md5 {trace.model_md5}"),
        ("", f"sha256 {tags.get(MODEL_TAG, UNKNOWN)}"),
    ]
    width = max(len(name) for name, _ in lines)
    told = "\n".join(f"  {name.ljust(width)}  {value}" for name, value in lines)
    return f"{trace.version.uri}{aliases}\n{told}\n\n{_explain_rebuild(trace, source)}"


def _explain_rebuild(trace: Trace, source: str) -> str:
    if trace.commit == UNKNOWN:
        return "It cannot be made again: it was registered outside of a git commit."
    caution = "" if trace.dirty == "false" else " (if what differed from the commit did not matter)"
    return (
        f"To make it again, from the data of that commit{caution}:\n"
        f"  git clone {source} rebuilt && cd rebuilt && git checkout {trace.commit}\n"
        "  make setup && . .venv/bin/activate\n"
        "  dvc pull\n"
        "  dvc repro --force --single-item train   # models/model.onnx then has the md5 above\n"
        "If `dvc exp run -S` made it, the commit has other settings: put those of the run in place before the last command,\n"
        f"  mlflow artifacts download --run-id {trace.version.run_id} --artifact-path {SETTINGS} --dst-path ."
    )


def _resolve(store: Store, uri: str) -> Version:
    match = re.fullmatch(r"models:/([^/@]+)(?:/(\d+)|@([^/@]+))", uri)
    if match is None:
        raise TrackingError(f"VERSION={uri}: a version is named models:/NAME/3 or models:/NAME@champion")
    name, number, alias = match.groups()
    if alias is not None:
        with mlflow_errors(store.address):
            number = read_aliases(store, name).get(alias)
    found = find_number(store, name, number) if number else None
    if found is None:
        raise TrackingError(
            f"VERSION={uri}: there is no such version; `make registry` lists those that there are"
        )
    return found


def _read_artifact(store: Store, run_id: str, name: str) -> str | None:
    """Return a run's file as text, if it has one."""
    if name not in {item.path for item in store.client.list_artifacts(run_id)}:
        return None
    with tempfile.TemporaryDirectory() as folder:
        return Path(store.client.download_artifacts(run_id, name, folder)).read_text(encoding="utf-8")
