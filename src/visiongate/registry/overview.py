"""What is in the registry: a line for each version."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from visiongate.adapters.mlflow.registry import (
    DECISION_TAG,
    REASON_TAG,
    ROLLED_BACK_TAG,
    Version,
    list_versions,
    unless_missing,
)
from visiongate.adapters.mlflow.store import Store, mlflow_errors
from visiongate.text_tables import lay_out

ACCURACY = "test/accuracy"
COLUMNS = ("version", "aliases", "decision", "accuracy", "date (UTC)", "commit", "reason")


def describe_registry(store: Store, name: str) -> str:
    """Tell of each version what was decided about it and why, the latest first.

    The accuracy is that of its day's test images, out of its run.

    Raises:
        TrackingError: MLflow failed.
    """
    versions = list_versions(store, name)
    if not versions:
        return f"registered model {name}: no version yet; `make register` registers the model at hand"
    with mlflow_errors(store.address):
        return lay_out(COLUMNS, [_describe(store, version) for version in versions])


def export_registry(store: Store, name: str) -> list[dict[str, Any]]:
    """Return the versions as plain values, the latest first.

    Raises:
        TrackingError: MLflow failed.
    """
    return [asdict(version) for version in list_versions(store, name)]


def _describe(store: Store, version: Version) -> list[str]:
    run = unless_missing(lambda: store.client.get_run(version.run_id))
    accuracy = run.data.metrics.get(ACCURACY) if run else None
    tags = version.tags
    commit = tags.get("mlflow.source.git.commit", "?")[:7]
    date = datetime.fromtimestamp(version.created / 1000, UTC)
    rolled_back = f"rolled back {tags[ROLLED_BACK_TAG]}; " if ROLLED_BACK_TAG in tags else ""
    return [
        version.number,
        ",".join(version.aliases) or "-",
        tags.get(DECISION_TAG, "undecided"),
        "-" if accuracy is None else f"{accuracy:.4f}",
        f"{date:%Y-%m-%d %H:%M}",
        commit + ("+" if tags.get("visiongate.git_dirty") == "true" else ""),
        rolled_back + tags.get(REASON_TAG, ""),
    ]
