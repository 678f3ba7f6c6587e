"""What a finished study says: rows, figures and sentences, in the metric's own sign."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from visiongate.optimization.confirmation import Verdict
from visiongate.optimization.space import Values, override
from visiongate.optimization.study import SearchResult, TrialResult

FALLS = ("val_loss",)  # metrics of which less is better


@dataclass(frozen=True, slots=True)
class Outcome:
    """A study, and what became of its best trial on fresh seeds."""

    metric: str
    found: SearchResult
    verdict: Verdict | None  # None where there was nothing to confirm

    @property
    def beaten(self) -> bool:
        """Say whether a trial has a better value than the current settings, by luck or not."""
        current = self.found.trials[0].value
        return current is None or self.found.best_value > current


def signed(metric: str, value: float) -> float:
    """Turn a metric into one of which more is better, and back."""
    return -value if metric in FALLS else value


def list_trials(outcome: Outcome) -> Iterator[dict[str, Any]]:
    """Yield a row for each trial: its place, state, value, the best so far, the epochs trained, and what was tried."""
    best: float | None = None
    for trial in outcome.found.trials:
        if trial.value is not None and (best is None or trial.value > best):
            best = trial.value
        yield {
            "trial": trial.trial,
            "state": trial.state,
            "value": _natural(outcome.metric, trial.value),
            "best": _natural(outcome.metric, best),
            "epochs": len(trial.curve),
        } | trial.values


def list_curves(outcome: Outcome) -> Iterator[dict[str, Any]]:
    """Yield a row for each epoch of each trial."""
    for trial in outcome.found.trials:
        for epoch, value in enumerate(trial.curve, start=1):
            yield {"trial": trial.trial, "epoch": epoch, "value": signed(outcome.metric, value)}


def summarize_outcome(outcome: Outcome) -> dict[str, Any]:
    """Return the study's figures; differences count gains, whichever way the metric goes."""
    found, verdict = outcome.found, outcome.verdict
    summary: dict[str, Any] = {
        "trials": len(found.trials),
        "pruned": count_pruned(found.trials),
        "epochs": sum(len(trial.curve) for trial in found.trials),
        "best_trial": found.best.trial,
        "best_value": signed(outcome.metric, found.best_value),
        "current_value": _natural(outcome.metric, found.trials[0].value),
        "beats_current": verdict is not None and verdict.better,
    }
    if verdict is not None:
        keys = ("mean_difference", "low", "high", "confidence", "p_value")
        summary["confirmed"] = {"seeds": len(verdict.seeds)} | {key: getattr(verdict, key) for key in keys}
    return summary


def tell(outcome: Outcome) -> str:
    """Say what was found and how to try it, a sentence a line."""
    trials = outcome.found.trials
    best = signed(outcome.metric, outcome.found.best_value)
    head = f"{len(trials)} trials, {count_pruned(trials)} pruned; {outcome.metric} {best:.4f} at best"
    if not outcome.beaten:
        return f"{head}, with the current settings, which no trial beats"
    current = _natural(outcome.metric, trials[0].value)
    now = (
        f"{current:.4f} with the current settings"
        if current is not None
        else "none with the current settings"
    )
    return f"{head}, {now}\n{explain(outcome)}\nto try it: {command(outcome.found.best.values)}"


def explain(outcome: Outcome) -> str:
    """Say whether the best trial beats the current settings by more than seed noise."""
    verdict = outcome.verdict
    if not outcome.beaten:
        return "no trial beats the current settings"
    if verdict is None:
        return "whether that is more than seed noise is not known: optimize.confirm_seeds is 0"
    measured = (
        f"on {len(verdict.seeds)} fresh seeds the gain in {outcome.metric} is {verdict.mean_difference:+.4f} on average, "
        f"from {verdict.low:+.4f} to {verdict.high:+.4f} at {verdict.confidence:.0%} confidence, p = {verdict.p_value:.3f}"
    )
    if verdict.better:
        return f"{measured}: better than the current settings by more than seed noise"
    if not verdict.decidable:
        return f"{measured}: so few seeds cannot tell it from seed noise; optimize.confirm_seeds=5 can"
    return f"{measured}: not shown to be better than the current settings"


def command(values: Values) -> str:
    """Return the command that tries these values, with all their digits."""
    return "dvc exp run " + " ".join(
        f"-S {shlex.quote(override(key, value))}" for key, value in values.items()
    )


def count_pruned(trials: list[TrialResult]) -> int:
    """Count the trials that were ended early."""
    return sum(trial.state == "pruned" for trial in trials)


def _natural(metric: str, value: float | None) -> float | None:
    return None if value is None else signed(metric, value)
