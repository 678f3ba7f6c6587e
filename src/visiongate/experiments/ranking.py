"""Experiments side by side, the best by a metric first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from visiongate.errors import VisiongateError
from visiongate.experiments.evidence import Evidence
from visiongate.experiments.listing import Experiment
from visiongate.records.interval import Interval
from visiongate.records.metrics import lower_is_better
from visiongate.text_tables import format_table

WORDS = {True: "passes", False: "FAILS", None: "-"}
ABSENT = "-"  # of a setting or metric that an experiment does not have


class RankingError(VisiongateError):
    """There is nothing to rank, or nothing to rank it by."""


@dataclass(frozen=True, slots=True)
class Row:
    """An experiment in the ranking."""

    experiment: Experiment
    value: float | None  # of the metric
    interval: Interval | None
    passed: bool | None  # the gate's verdict
    changes: Mapping[str, Any]  # settings that differ from the base, as they are in the experiment


@dataclass(frozen=True, slots=True)
class Ranking:
    """What has run, the best first, against the commit that it is compared with."""

    metric: str
    base: Row
    rows: tuple[Row, ...]

    @property
    def lower(self) -> bool:
        """Whether less is better."""
        return is_lower_better(self.metric)

    @property
    def best(self) -> Row | None:
        """The first that has the metric."""
        return next((row for row in self.rows if row.value is not None), None)

    @property
    def varied(self) -> list[str]:
        """The settings that differ from the base in any experiment."""
        return sorted({name for row in self.rows for name in row.changes})


def is_lower_better(metric: str) -> bool:
    """Say whether less of a metric is better."""
    return lower_is_better(metric) or metric.endswith("loss")


def rank(metric: str, base: Experiment, experiments: Sequence[Experiment], evidence: Evidence) -> Ranking:
    """Put experiments that have run in order.

    Args:
        metric: One of the metrics that the line writes.
        base: The commit to compare with.
        experiments: What has run; those without the metric come last.
        evidence: Of what they showed.

    Raises:
        RankingError: None has run, or none has the metric; the message names those that there are.
    """
    if not experiments:
        raise RankingError(
            "no experiment has run yet: make sweep GRID='model.lr=0.01,0.02', or dvc exp run -S model.lr=0.02"
        )
    if not any(metric in experiment.metrics for experiment in experiments):
        known = sorted({name for experiment in experiments for name in experiment.metrics})
        there = (
            f"there are {', '.join(known)}"
            if known
            else "they have no metrics at all: they ended before `evaluate`"
        )
        raise RankingError(f"METRIC={metric}: no experiment has it; {there}")
    rows = [_row(metric, base, experiment, evidence) for experiment in experiments]
    sign = 1 if is_lower_better(metric) else -1
    ordered = sorted(
        rows, key=lambda row: (row.value is None, sign * (row.value or 0.0), row.experiment.name)
    )
    return Ranking(metric, _row(metric, base, base, evidence), tuple(ordered))


def _row(metric: str, base: Experiment, experiment: Experiment, evidence: Evidence) -> Row:
    return Row(
        experiment,
        experiment.metrics.get(metric),
        evidence.intervals(experiment).get(metric),
        evidence.passed(experiment),
        difference(base.params, experiment.params),
    )


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that differ, as they are afterwards; what is gone is `ABSENT`."""
    names = [*after, *(name for name in before if name not in after)]
    return {
        name: after.get(name, ABSENT) for name in names if before.get(name, ABSENT) != after.get(name, ABSENT)
    }


def lay_out_ranking(ranking: Ranking, width: int | None) -> str:
    """Write the ranking as a table; its last column, the settings that differ, is cut where there is a width."""
    header = ["experiment", ranking.metric, "interval", "change", "gate", "settings that differ"]
    rows = [_cells(ranking, row) for row in (*ranking.rows, ranking.base)]
    return format_table(header, rows, width)


def _cells(ranking: Ranking, row: Row) -> list[str]:
    is_base = row is ranking.base
    value, base = row.value, ranking.base.value
    known = value is not None and base is not None and not is_base
    return [
        f"({row.experiment.name}, the base)" if is_base else row.experiment.name,
        ABSENT if value is None else f"{value:.4f}",
        "" if row.interval is None else f"{row.interval.low:.4f} to {row.interval.high:.4f}",
        f"{(value or 0) - (base or 0):+.4f}" if known else "",
        WORDS[row.passed],
        " ".join(f"{name}={show(value)}" for name, value in row.changes.items()),
    ]


def show(value: Any) -> str:  # noqa: ANN401 - whatever a setting holds
    """Write a setting's value as Hydra reads it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:.6g}" if isinstance(value, float) else str(value)
