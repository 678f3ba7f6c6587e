"""The report on a search: its tables and summary, with metrics in their own sign."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from visiongate.optimization.study import MIN_COMPLETE, SearchResult
from visiongate.records.metrics import lower_is_better
from visiongate.records.search import SearchSummary


def to_metric(metric: str, score: float) -> float:
    """Return the metric of a score, which is negated if a lower metric is better."""
    return -score if lower_is_better(metric) else score


def tabulate_trials(metric: str, result: SearchResult) -> Iterator[dict[str, Any]]:
    """Yield a row for each trial: index, state, value, best value so far, epochs, problem, and the searched settings."""
    best: float | None = None
    for trial in result.trials:
        if trial.value is not None and (best is None or trial.value > best):
            best = trial.value
        yield {
            "trial": trial.trial,
            "state": trial.state,
            "value": _to_metric(metric, trial.value),
            "best": _to_metric(metric, best),
            "epochs": len(trial.curve),
            "problem": "" if trial.failure is None else trial.failure.message,
        } | trial.values


def tabulate_curves(metric: str, result: SearchResult) -> Iterator[dict[str, Any]]:
    """Yield a row for each epoch of each trial."""
    for trial in result.trials:
        for epoch, score in enumerate(trial.curve, start=1):
            yield {"trial": trial.trial, "epoch": epoch, "value": to_metric(metric, score)}


def summarize_search(metric: str, result: SearchResult) -> SearchSummary:
    """Return the summary."""
    states = Counter(trial.state for trial in result.trials)
    return SearchSummary(
        trials=len(result.trials),
        pruned=states["pruned"],
        failed=states["failed"],
        epochs=sum(len(trial.curve) for trial in result.trials),
        best_trial=result.best.trial,
        best_value=to_metric(metric, result.best_value),
    )


def format_search(metric: str, summary: SearchSummary, epochs: int) -> str:
    """Return the line to print."""
    length = f" of up to {epochs} epochs" if epochs > 1 else ""
    failed = f", {summary.failed} failed" if summary.failed else ""
    return (
        f"{summary.trials} trials{length}, {summary.pruned} pruned{failed}; best {metric} "
        f"{summary.best_value:.4f} (trial {summary.best_trial})"
    )


def explain_guess(metric: str, guessed: float) -> str:
    """Return in a sentence that no trial is better than guessing the most frequent class, and what to do."""
    return (
        f"No trial is better than guessing the most frequent class ({metric} {guessed:.4f}): the search says nothing. Raise "
        "optimize.epochs, or use more images."
    )


def explain_importances(result: SearchResult) -> str:
    """Return how the importance of the settings was estimated, or why it was not."""
    complete = sum(trial.value is not None for trial in result.trials)
    if result.importances:
        return (
            f"Importance: the share of the variation over the {complete} complete trials that the setting explains (PED-ANOVA, "
            "Watanabe et al., 2023)."
        )
    if complete < MIN_COMPLETE:
        pruned = "" if complete == len(result.trials) else ", or set optimize.pruner=none"
        return (
            f"No importance is estimated: it takes {MIN_COMPLETE} complete trials, and {complete} of {len(result.trials)} are. "
            f"Raise optimize.trials{pruned}."
        )
    return "No importance is estimated: all complete trials have the same value."


def shorten_value(value: object) -> str:
    """Return a setting's value with at most four digits."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return "null" if value is None else str(value)


def _to_metric(metric: str, score: float | None) -> float | None:
    return None if score is None else to_metric(metric, score)
