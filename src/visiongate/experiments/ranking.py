"""Experiments in order of a metric, compared with the commit that they start from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from visiongate.errors import VisiongateError
from visiongate.experiments.listing import Experiment
from visiongate.experiments.results import ResultReader
from visiongate.records.interval import Interval
from visiongate.records.metrics import lower_is_better
from visiongate.text_tables import format_table

GATE_WORDS = {True: "passed", False: "FAILED", None: "-"}
# The value of a setting or metric that an experiment does not have.
ABSENT = "-"


class RankingError(VisiongateError):
    """There are no finished experiments, or none has the metric."""


@dataclass(frozen=True, slots=True)
class RankedExperiment:
    """An experiment in the ranking.

    Attributes:
        experiment: The experiment.
        value: Its metric; None if it does not have the metric.
        interval: The metric's confidence interval.
        passed: Whether the gate passed; None without a verdict.
        changes: The settings that differ from the baseline.
    """

    experiment: Experiment
    value: float | None
    interval: Interval | None
    passed: bool | None
    changes: Mapping[str, Any]

    @property
    def same_data(self) -> bool:
        """Whether the data set is the baseline's, so that their metrics can be compared."""
        return not any(name.startswith("dataset.") for name in self.changes)


@dataclass(frozen=True, slots=True)
class Ranking:
    """Finished experiments, the best first, and their baseline."""

    metric: str
    baseline: RankedExperiment
    experiments: tuple[RankedExperiment, ...]

    @property
    def best(self) -> RankedExperiment | None:
        """The best experiment that has the metric: on the baseline's data set, or on others if there is none on that."""
        measured = [each for each in self.experiments if each.value is not None]
        return next((each for each in measured if each.same_data), next(iter(measured), None))

    @property
    def marked(self) -> RankedExperiment | None:
        """The best experiment if it is one of several and not worse than the baseline."""
        best, measured = self.best, [each for each in self.experiments if each.value is not None]
        return None if best is None or len(measured) == 1 or self.is_worse(best) else best

    def is_worse(self, ranked: RankedExperiment) -> bool:
        """Return whether an experiment has a worse metric than the baseline, on the same data set."""
        if ranked.value is None or self.baseline.value is None or not ranked.same_data:
            return False
        sign = 1 if lower_is_better(self.metric) else -1
        return sign * ranked.value > sign * self.baseline.value

    def headline(self, best: RankedExperiment) -> str:
        """Return in a sentence which experiment is the best one, and whether its gate failed."""
        gate = ", whose gate FAILED" if best.passed is False else ""
        value = f"{self.metric} {best.value:.4f}{gate}"
        name = best.experiment.name
        if self.is_worse(best):
            return f"No experiment reaches the baseline; the nearest is {name}, {value}."
        return f"{'The only experiment' if self.marked is None else 'Best'}: {name}, {value}."

    @property
    def varied(self) -> list[str]:
        """The settings in which any experiment differs from the baseline."""
        return sorted({name for each in self.experiments for name in each.changes})

    @property
    def tried(self) -> int:
        """The number of different settings that were tried."""
        return len({repr(sorted(each.changes.items())) for each in self.experiments})


def rank_experiments(
    metric: str, baseline: Experiment, experiments: Sequence[Experiment], reader: ResultReader
) -> Ranking:
    """Sort finished experiments by a metric; those without the metric come last.

    Args:
        metric: The metric.
        baseline: The commit to compare with.
        experiments: The finished experiments.
        reader: Reads their results.

    Raises:
        RankingError: No experiment has finished, or none has the metric.
    """
    if not experiments:
        raise RankingError("no finished experiment; run `visiongate sweep model.lr=0.01,0.02`")
    if not any(metric in each.metrics for each in experiments):
        known = sorted({name for each in experiments for name in each.metrics})
        raise RankingError(
            f"--metric {metric}: no experiment has it; choose one of {', '.join(known) or '(none)'}"
        )
    sign = 1 if lower_is_better(metric) else -1
    ranked = [_rank(metric, baseline, each, reader) for each in experiments]
    ranked.sort(key=lambda each: (each.value is None, sign * (each.value or 0.0), each.experiment.name))
    return Ranking(metric, _rank(metric, baseline, baseline, reader), tuple(ranked))


def find_differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that differ, with the values after; `ABSENT` is the value of a setting that was removed.

    A value that became a section, such as a null, is not removed: the settings of the section replace it. The same holds for
    a section that became a value.
    """
    names = dict.fromkeys([*after, *before])
    return {
        name: after.get(name, ABSENT)
        for name in names
        if before.get(name, ABSENT) != after.get(name, ABSENT)
        and not (name not in after and _is_replaced(name, after))
    }


def _is_replaced(name: str, after: Mapping[str, Any]) -> bool:
    return any(other.startswith(f"{name}.") or name.startswith(f"{other}.") for other in after)


def shorten_changes(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the changes with the name of another data set instead of each of its settings."""
    data_set = changes.get("dataset.name")
    if data_set is None:
        return dict(changes)
    others = {name: value for name, value in changes.items() if not name.startswith("dataset.")}
    return {"dataset": data_set} | others


def format_ranking(ranking: Ranking, width: int | None) -> str:
    """Return the ranking as a text table. A width cuts the last column, the settings that differ."""
    header = ["experiment", ranking.metric, "interval", "change", "gate", "changed settings"]
    rows = [_format_cells(ranking, each) for each in (*ranking.experiments, ranking.baseline)]
    return format_table(header, rows, width)


def format_setting(value: Any) -> str:  # noqa: ANN401 - a setting's value
    """Return a setting's value as Hydra reads it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _rank(
    metric: str, baseline: Experiment, experiment: Experiment, reader: ResultReader
) -> RankedExperiment:
    return RankedExperiment(
        experiment,
        experiment.metrics.get(metric),
        reader.read_intervals(experiment).get(metric),
        reader.read_gate(experiment),
        find_differences(baseline.params, experiment.params),
    )


def _format_cells(ranking: Ranking, ranked: RankedExperiment) -> list[str]:
    is_baseline = ranked is ranking.baseline
    value, base = ranked.value, ranking.baseline.value
    comparable = not is_baseline and ranked.same_data
    change = f"{value - base:+.4f}" if comparable and value is not None and base is not None else ""
    name, interval = ranked.experiment.name, ranked.interval
    return [
        f"({name}, baseline)" if is_baseline else name,
        ABSENT if value is None else f"{value:.4f}",
        "" if interval is None else f"{interval.low:.4f} to {interval.high:.4f}",
        change,
        GATE_WORDS[ranked.passed],
        " ".join(
            f"{name}={format_setting(value)}" for name, value in shorten_changes(ranked.changes).items()
        ),
    ]
