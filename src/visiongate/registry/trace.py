"""The lineage of a registered model: commit, data, parameters and environment."""

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from visiongate.adapters.git import UNKNOWN
from visiongate.adapters.mlflow.registry import ROLLOUT_TAG, Version, find_uri
from visiongate.adapters.mlflow.runs import find_run, read_artifact
from visiongate.adapters.mlflow.store import Store
from visiongate.records.registry_tags import MODEL_TAG

ENVIRONMENT = "environment.json"
# What the run has in place of the commit: an experiment has other parameters, and the commit has the lock of an earlier run.
RUN_FILES = ("params.yaml", "dvc.lock")
DATA_TAG = re.compile(r"visiongate\.(data_\w+)_md5")


@dataclass(frozen=True, slots=True)
class Trace:
    """The lineage of a version.

    Attributes:
        version: The version.
        commit: ``unknown`` outside a repository.
        dirty: Whether tracked files differed from the commit: ``true``, ``false`` or ``unknown``.
        data_md5: By folder.
        params: Of its run.
        environment: Of its training; empty if the run does not have it.
        address: Of the registry.
        files: The content of those of `RUN_FILES` that the run has, by name.
    """

    version: Version
    commit: str
    dirty: str
    data_md5: Mapping[str, str]
    params: Mapping[str, str]
    environment: Mapping[str, Any]
    address: str
    files: Mapping[str, bytes]

    @property
    def model_md5(self) -> str:
        """The md5 of the model's file."""
        return self.version.tags.get("visiongate.model_md5", UNKNOWN)


def trace_version(store: Store, uri: str) -> Trace:
    """Read the lineage of a version.

    Args:
        store: The registry.
        uri: ``models:/NAME/3`` or ``models:/NAME@champion``.

    Raises:
        TrackingError: MLflow failed, or there is no such version.
    """
    version = find_uri(store, uri)
    run = find_run(store, version.run_id)
    found = {name: read_artifact(store, run.id, name) if run else None for name in (ENVIRONMENT, *RUN_FILES)}
    environment = found.pop(ENVIRONMENT)
    tags = version.tags
    return Trace(
        version=version,
        commit=tags.get("mlflow.source.git.commit", UNKNOWN),
        dirty=tags.get("visiongate.git_dirty", UNKNOWN),
        data_md5={
            match[1].replace("_", "/", 1): tags[tag]
            for tag in sorted(tags)
            if (match := DATA_TAG.fullmatch(tag))
        },
        params=run.params if run else {},
        environment=json.loads(environment or b"{}"),
        address=store.address,
        files={name: content for name, content in found.items() if content is not None},
    )


def format_trace(trace: Trace, source: str) -> str:
    """Return a trace as lines of text, with the commands that rebuild the model.

    Args:
        trace: Of the version.
        source: Address from which the repository can be cloned.
    """
    rows = _describe(trace)
    width = max(len(name) for name, _ in rows)
    lines = "\n".join(f"  {name.ljust(width)}  {value}" for name, value in rows)
    aliases = f" ({', '.join(trace.version.aliases)})" if trace.version.aliases else ""
    return f"{trace.version.uri}{aliases}\n{lines}\n\n{_explain_rebuild(trace, source)}"


def _describe(trace: Trace) -> list[tuple[str, str]]:
    tags, environment = trace.version.tags, trace.environment
    packages = ", ".join(f"{name} {version}" for name, version in environment.get("packages", {}).items())
    states = {"true": "with uncommitted changes", "false": "clean"}
    return [
        ("commit", f"{trace.commit} ({states.get(trace.dirty, 'unknown whether clean')})"),
        *((path, f"md5 {md5}") for path, md5 in trace.data_md5.items()),
        ("dvc.lock", tags.get("visiongate.dvc_lock", UNKNOWN)),
        ("parameters", f"sha256 {tags.get('visiongate.params_sha256', UNKNOWN)}"),
        ("", f"{len(trace.params)} in run {trace.version.run_id}"),
        ("python", str(environment.get("python", UNKNOWN))),
        ("platform", str(environment.get("platform", UNKNOWN))),
        ("processor", f"{environment.get('cpu', UNKNOWN)}, {environment.get('cores', UNKNOWN)} cores"),
        ("packages", packages or UNKNOWN),
        ("model", f"md5 {trace.model_md5}"),
        ("", f"sha256 {tags.get(MODEL_TAG, UNKNOWN)}"),
        *_describe_rollout(tags.get(ROLLOUT_TAG, "")),
    ]


def _describe_rollout(history: str) -> list[tuple[str, str]]:
    """Return the verdicts about the version beside the champion, the latest first."""
    return [("" if number else "rollout", line) for number, line in enumerate(history.splitlines())]


def _explain_rebuild(trace: Trace, source: str) -> str:
    if trace.commit == UNKNOWN:
        return "It cannot be rebuilt, because it was registered outside a git commit."
    caution = "" if trace.dirty == "false" else ", provided that the uncommitted changes did not matter"
    download = f"MLFLOW_TRACKING_URI={shlex.quote(trace.address)} mlflow artifacts download --run-id {trace.version.run_id}"
    downloads = [f"  {download} --artifact-path {name} --dst-path ." for name in trace.files]
    commands = [
        f"  git clone {source} rebuilt && cd rebuilt && git checkout {trace.commit}",
        "  make setup && . .venv/bin/activate",
        *downloads,
        "  dvc pull",
        "  dvc repro --force --single-item train",
    ]
    return "\n".join(
        [
            f"To rebuild it{caution} (`visiongate registry trace {trace.version.uri} --verify` does it for you):",
            *commands,
        ]
    )
