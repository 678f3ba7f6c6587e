"""Tables of the registered versions and of the best runs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from visiongate.adapters.git import SHORT_COMMIT
from visiongate.adapters.mlflow.registry import (
    BY_HAND_TAG,
    DECISION_TAG,
    REASON_TAG,
    ROLLED_BACK_TAG,
    ROLLOUT_TAG,
    Version,
    list_versions,
)
from visiongate.adapters.mlflow.runs import KEPT, RecordedRun, find_run, search_runs
from visiongate.adapters.mlflow.store import Store, TrackingError
from visiongate.records.metrics import lower_is_better
from visiongate.text_tables import GAP, WIDTH, format_table, shorten

ACCURACY = "test/accuracy"
COLUMNS = ("version", "aliases", "decision", "accuracy", "date (UTC)", "commit", "reason")
RUN_ID = 8
# Widths of the columns in a table of runs, in characters.
CELL, LABEL = 16, 32


def format_versions(store: Store, name: str, width: int | None) -> str:
    """Return a table of the versions, the latest first.

    The accuracy is that on the test images at the time of registration.

    Args:
        store: The registry.
        name: Of the registered model.
        width: Longer lines are cut; None cuts nothing.

    Raises:
        TrackingError: MLflow failed.
    """
    versions = list_versions(store, name)
    if not versions:
        return f"registered model {name}: no version yet; register the current model with `visiongate registry register`"
    return format_table(COLUMNS, [_version_row(store, version) for version in versions], width)


def export_versions(store: Store, name: str) -> list[dict[str, Any]]:
    """Return the versions as plain values, the latest first.

    Raises:
        TrackingError: MLflow failed.
    """
    return [asdict(version) for version in list_versions(store, name)]


def format_best_runs(store: Store, name: str, metric: str, count: int) -> str:
    """Return a table of the best runs side by side: their metrics, and the parameters in which they differ.

    Args:
        store: The registry.
        name: Of the registered model, whose versions are shown.
        metric: By which the runs are ordered, best first.
        count: Number of runs.

    Raises:
        TrackingError: MLflow failed, or no run has the metric.
    """
    runs = search_runs(store, metric, ascending=lower_is_better(metric), limit=count)
    if not runs:
        known = sorted({name for run in search_runs(store) for name in run.metrics})
        hint = f"choose one of {', '.join(known)}" if known else "train a model with `dvc repro`"
        raise TrackingError(f"{metric}: no run has this metric; {hint}")
    rows = _compare(runs, list_versions(store, name))
    per_block = max(1, (WIDTH - LABEL) // (CELL + len(GAP)))
    blocks = (_cut(rows, start, start + per_block) for start in range(0, len(runs), per_block))
    return "\n\n".join(format_table(block[0], block[1:]) for block in blocks)


def _version_row(store: Store, version: Version) -> list[str]:
    tags, run = version.tags, find_run(store, version.run_id)
    accuracy = run.metrics.get(ACCURACY) if run else None
    commit = tags.get("mlflow.source.git.commit", "?")[:SHORT_COMMIT]
    moved = {"rolled back": ROLLED_BACK_TAG, "promoted by hand": BY_HAND_TAG}
    by_hand = "".join(f"{what} {tags[tag]}; " for what, tag in moved.items() if tag in tags)
    rollout = f"{tags[ROLLOUT_TAG].splitlines()[0]}; " if ROLLOUT_TAG in tags else ""
    return [
        version.number,
        ",".join(version.aliases) or "-",
        tags.get(DECISION_TAG, "undecided"),
        "-" if accuracy is None else f"{accuracy:.4f}",
        f"{datetime.fromtimestamp(version.created / 1000, UTC):%Y-%m-%d %H:%M}",
        commit + ("+" if tags.get("visiongate.git_dirty") == "true" else ""),
        by_hand + rollout + tags.get(REASON_TAG, ""),
    ]


def _compare(runs: Sequence[RecordedRun], versions: Sequence[Version]) -> list[list[str]]:
    """Return a row for each property: its name, and its value in each run."""
    # Several versions may be of one run; the first one counts.
    by_run = {version.run_id: f"{version.number} {','.join(version.aliases)}".strip() for version in versions}
    rows = [
        ["run", *(run.id[:RUN_ID] for run in runs)],
        ["name", *(run.name for run in runs)],
        ["version", *(by_run.get(run.id, "-") for run in runs)],
    ]
    shown = [_without_last_epoch(run.metrics) for run in runs]
    for name in sorted(
        {name for metrics in shown for name in metrics}, key=lambda name: ("/" not in name, name)
    ):
        values = [metrics.get(name) for metrics in shown]
        rows.append([name, *("-" if value is None else f"{value:.5g}" for value in values)])
    for name in sorted({name for run in runs for name in run.params}):
        texts = [run.params.get(name, "-") for run in runs]
        if len(set(texts)) > 1:
            rows.append([name, *texts])
    return rows


def _without_last_epoch(metrics: Mapping[str, float]) -> dict[str, float]:
    """Leave out the last epoch's metrics if the kept epoch's are there, because the test metrics are of the kept epoch."""
    return {name: value for name, value in metrics.items() if KEPT + name not in metrics}


def _cut(rows: Sequence[Sequence[str]], start: int, stop: int) -> list[list[str]]:
    return [
        [shorten(name, LABEL - len(GAP)), *(shorten(cell, CELL) for cell in cells[start:stop])]
        for name, *cells in rows
    ]
