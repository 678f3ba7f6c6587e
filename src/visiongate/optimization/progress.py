"""The progress of a study: a bar on a terminal, and a line for each trial elsewhere."""

import logging
import time
from collections.abc import Sequence
from datetime import timedelta
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from visiongate.optimization.report import to_metric
from visiongate.optimization.trials import TrialResult

logger = logging.getLogger(__name__)


class SearchProgress:
    """Shows the finished trials, the best value so far, and the time left.

    Args:
        title: What the trials belong to.
        trials: The number of trials.
        metric: The metric of a trial.
    """

    def __init__(self, title: str, trials: int, metric: str) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), MofNCompleteColumn())
        self._bar = Progress(*columns, TextColumn("{task.fields[best]}"), TimeRemainingColumn())
        self._bar.disable = not self._bar.console.is_terminal
        self._title, self._trials, self._metric = title, trials, metric
        self._task = self._bar.add_task(title, total=trials, best="")
        self._shown, self._resumed, self._started = set[int](), 0, time.monotonic()

    def __enter__(self) -> Self:
        """Start drawing."""
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop drawing."""
        self._bar.stop()

    def resume(self, trials: Sequence[TrialResult]) -> None:
        """Count the trials of an earlier run of the stage, without a line for each."""
        self._shown, self._resumed = {trial.trial for trial in trials}, len(trials)
        self._update(trials)

    def show(self, trials: Sequence[TrialResult]) -> None:
        """Show the trials that have finished since the last call."""
        self._update(trials)
        for trial in trials:
            if trial.trial not in self._shown and self._bar.disable:
                logger.info("%s", self._describe(trial, trials))
        self._shown = {trial.trial for trial in trials}

    def _update(self, trials: Sequence[TrialResult]) -> None:
        self._bar.update(self._task, completed=len(trials), best=self._format_best(trials))

    def _describe(self, trial: TrialResult, trials: Sequence[TrialResult]) -> str:
        epochs = f"{len(trial.curve)} epoch{'' if len(trial.curve) == 1 else 's'}"
        value = max(trial.curve, default=None) if trial.value is None else trial.value
        score = "" if value is None else f", {self._metric} {to_metric(self._metric, value):.4f}"
        done = f"{len(trials)} of {max(self._trials, len(trials))} done"
        parts = [done, self._format_best(trials), self._format_time_left(len(trials))]
        return f"{self._title} {trial.trial}: {trial.state} after {epochs}{score}; {', '.join(filter(None, parts))}"

    def _format_best(self, trials: Sequence[TrialResult]) -> str:
        values = [trial.value for trial in trials if trial.value is not None]
        return f"best {self._metric} {to_metric(self._metric, max(values)):.4f}" if values else ""

    def _format_time_left(self, done: int) -> str:
        left, ours = self._trials - done, done - self._resumed
        if left <= 0 or ours <= 0:
            return ""
        seconds = (time.monotonic() - self._started) / ours * left
        return f"about {timedelta(seconds=round(seconds))} left"
