"""The report on a search: its tables, summary and conclusion, with metrics in their own sign."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from visiongate.optimization.confirmation import Confirmation
from visiongate.optimization.space import format_override
from visiongate.optimization.study import SearchResult
from visiongate.records.metrics import lower_is_better
from visiongate.records.search import ConfirmationSummary, SearchSummary, Values


@dataclass(frozen=True, slots=True)
class SearchReport:
    """A finished search, and the test of its best trial on fresh seeds.

    Attributes:
        metric: The metric of a trial.
        result: The trials; a higher value is better.
        confirmation: None if nothing was confirmed.
    """

    metric: str
    result: SearchResult
    confirmation: Confirmation | None

    @property
    def beaten(self) -> bool:
        """Whether a trial has a better value than the current settings, by chance or not."""
        current = self.result.trials[0].value
        return current is None or self.result.best_value > current

    @property
    def better(self) -> bool:
        """Whether fresh seeds show that the best trial is better than the current settings."""
        return self.confirmation is not None and self.confirmation.better

    @property
    def command(self) -> str:
        """The command that tries the best trial's settings."""
        return format_command(self.result.best.values)


def to_metric(metric: str, score: float) -> float:
    """Return the metric of a score, which is negated if a lower metric is better."""
    return -score if lower_is_better(metric) else score


def tabulate_trials(report: SearchReport) -> Iterator[dict[str, Any]]:
    """Yield a row for each trial: index, state, value, best value so far, epochs, and the searched settings."""
    best: float | None = None
    for trial in report.result.trials:
        if trial.value is not None and (best is None or trial.value > best):
            best = trial.value
        yield {
            "trial": trial.trial,
            "state": trial.state,
            "value": _to_metric(report.metric, trial.value),
            "best": _to_metric(report.metric, best),
            "epochs": len(trial.curve),
        } | trial.values


def tabulate_curves(report: SearchReport) -> Iterator[dict[str, Any]]:
    """Yield a row for each epoch of each trial."""
    for trial in report.result.trials:
        for epoch, score in enumerate(trial.curve, start=1):
            yield {"trial": trial.trial, "epoch": epoch, "value": to_metric(report.metric, score)}


def summarize_search(report: SearchReport) -> SearchSummary:
    """Return the summary; a positive difference is a gain, also for a metric of which less is better."""
    trials = report.result.trials
    return SearchSummary(
        trials=len(trials),
        pruned=sum(trial.state == "pruned" for trial in trials),
        epochs=sum(len(trial.curve) for trial in trials),
        best_trial=report.result.best.trial,
        best_value=to_metric(report.metric, report.result.best_value),
        current_value=_to_metric(report.metric, trials[0].value),
        beats_current=report.better,
        confirmed=_summarize_confirmation(report.confirmation),
    )


def format_report(report: SearchReport) -> str:
    """Return the lines to print; the command to try the best settings only if they are better."""
    summary = summarize_search(report)
    current = "undefined" if summary.current_value is None else f"{summary.current_value:.4f}"
    trials = f"{summary.trials} trials, {summary.pruned} pruned"
    best = f"best {report.metric} {summary.best_value:.4f}, current settings {current}"
    lines = [f"{trials}; {best}", format_conclusion(report)]
    if report.better:
        lines.append(f"To try the best settings: {report.command}")
    return "\n".join(lines)


def format_conclusion(report: SearchReport) -> str:
    """Return in a sentence whether the best trial is better than the current settings."""
    confirmation = report.confirmation
    if not report.beaten:
        return "No trial beats the current settings."
    if confirmation is None:
        return "The best trial was not confirmed on fresh seeds; set optimize.confirm_seeds=5."
    gain = (
        f"{report.metric} gain on {len(confirmation.seeds)} fresh seeds {confirmation.mean_difference:+.4f} "
        f"({confirmation.confidence:.0%} confidence interval {confirmation.low:+.4f} to {confirmation.high:+.4f}, "
        f"p = {confirmation.p_value:.3f})"
    )
    if confirmation.better:
        return f"The best trial is better than the current settings: {gain}."
    if not confirmation.decidable:
        return f"Too few seeds to confirm the best trial: {gain}; set optimize.confirm_seeds=5."
    return f"The best trial is not shown to be better than the current settings: {gain}."


def format_command(values: Values) -> str:
    """Return the command that runs an experiment with these values, with all their digits."""
    overrides = (f"-S {shlex.quote(format_override(key, value))}" for key, value in values.items())
    return "dvc exp run " + " ".join(overrides)


def _to_metric(metric: str, score: float | None) -> float | None:
    return None if score is None else to_metric(metric, score)


def _summarize_confirmation(confirmation: Confirmation | None) -> ConfirmationSummary | None:
    if confirmation is None:
        return None
    return ConfirmationSummary(
        seeds=len(confirmation.seeds),
        mean_difference=confirmation.mean_difference,
        low=confirmation.low,
        high=confirmation.high,
        confidence=confirmation.confidence,
        p_value=confirmation.p_value,
    )
