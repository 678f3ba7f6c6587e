"""The best runs, side by side."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from visiongate.adapters.mlflow.registry import list_versions
from visiongate.adapters.mlflow.runs import RecordedRun, search_runs
from visiongate.adapters.mlflow.store import Store, TrackingError
from visiongate.records.metrics import lower_is_better
from visiongate.text_tables import GAP, WIDTH, lay_out, shorten

CELL = 16  # characters of a value
LABEL = 32  # and of what it is called
LOWER_BY_NAME = re.compile(r"loss|(?:^|[/_])(?:ece|brier|latency|seconds|error|errors|mae|mse)(?:$|_)")


@dataclass(frozen=True, slots=True)
class Board:
    """What the board shows."""

    metric: str
    top: int
    name: str  # of the registered model, whose versions are told


def compare_runs(store: Store, board: Board) -> str:
    """Put the best runs of the experiment by one metric side by side: their metrics, and the parameters in which they differ.

    The lowest are best where the metric is a loss, an error or a time.

    Raises:
        TrackingError: MLflow failed, or no run has the metric; the message names those that there are.
    """
    name = board.metric.rpartition("/")[2]
    lower = lower_is_better(name) or bool(LOWER_BY_NAME.search(board.metric))
    runs = search_runs(store, board.metric, ascending=lower, limit=board.top)
    if not runs:
        raise TrackingError(_explain_none(store, board.metric))
    versions = {version.run_id: version for version in reversed(list_versions(store, board.name))}
    registered = {
        run_id: f"{version.number} {','.join(version.aliases)}".strip()
        for run_id, version in versions.items()
    }
    rows = _rows(runs, registered)
    each = max(1, (WIDTH - LABEL) // (CELL + len(GAP)))
    blocks = (_block(rows, start, start + each) for start in range(0, len(runs), each))
    return "\n\n".join(blocks)


def _explain_none(store: Store, metric: str) -> str:
    known = {name for run in search_runs(store) for name in run.metrics}
    there = (
        f"there are {', '.join(sorted(known))}" if known else "there is no run yet; `make repro` makes one"
    )
    return f"METRIC={metric}: no run of the experiment has it; {there}"


def _rows(runs: Sequence[RecordedRun], registered: dict[str, str]) -> list[list[str]]:
    """A row for each thing to compare: what it is called, and its value in each run."""
    rows = [
        ["run", *(run.id[:8] for run in runs)],
        ["name", *(run.name for run in runs)],
        ["version", *(registered.get(run.id, "-") for run in runs)],
    ]
    metrics = sorted({name for run in runs for name in run.metrics}, key=lambda name: ("/" not in name, name))
    for name in metrics:
        values = [run.metrics.get(name) for run in runs]
        rows.append([name, *("-" if value is None else f"{value:.5g}" for value in values)])
    for name in sorted({name for run in runs for name in run.params}):
        texts = [run.params.get(name, "-") for run in runs]
        if len(set(texts)) > 1:
            rows.append([name, *texts])
    return rows


def _block(rows: Sequence[Sequence[str]], start: int, stop: int) -> str:
    cut = [
        [shorten(row[0], LABEL - len(GAP)), *(shorten(cell, CELL) for cell in row[1 + start : 1 + stop])]
        for row in rows
    ]
    return lay_out(cut[0], cut[1:])
