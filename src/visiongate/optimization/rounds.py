"""Run a study in rounds of trials; it can be interrupted and resumed.

The sampler proposes the trials of a round, and the pruner judges them, by the results of earlier rounds only. So the study is
the same for any number of workers, on any engine, and whether it was interrupted or not: a trial depends on its index and on
earlier rounds, not on when another trial of its round ends.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from optuna import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from visiongate.engine.pieces import Engine
from visiongate.optimization.ledger import Ledger
from visiongate.optimization.plan import StudyPlan
from visiongate.optimization.progress import SearchProgress
from visiongate.optimization.proposals import History
from visiongate.optimization.storage import StudyStorage
from visiongate.optimization.trials import (
    FAILURE,
    INDEX,
    Assignment,
    Objective,
    curve_of,
    index_of,
    read_trials,
    run_trial,
)
from visiongate.settings.engine import Resources

# Between two looks at the trials that other machines run.
POLL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class StudyRunner:
    """Runs studies.

    Attributes:
        storage: Where they are stored; a journal must be locked.
        engine: Runs the trials of a round.
        resources: What the engine reserves for a trial.
    """

    storage: StudyStorage
    engine: Engine
    resources: Resources | None = None

    def run(self, plan: StudyPlan, objective: Objective) -> Study:
        """Run the trials that have not finished, show the progress, and return all, by index, as a study in memory.

        Args:
            plan: The study.
            objective: Trains a trial. The engine may have to pickle it.

        Raises:
            StudyError: The storage is unavailable.
            EngineError: The engine failed.
        """
        ledger = Ledger(plan.name, self.storage)
        with ledger.heartbeats(), SearchProgress(plan.title, plan.trials, plan.optimize.metric) as progress:
            progress.resume(read_trials(ledger.study))
            search = _Search(self, plan, ledger, History(plan), progress)
            search.run(partial(run_trial, plan, self.storage, objective))
        return search.history.study


@dataclass(frozen=True, slots=True)
class _Search:
    """The state of a study that runs."""

    runner: StudyRunner
    plan: StudyPlan
    ledger: Ledger
    history: History
    progress: SearchProgress

    def run(self, work: Callable[[Assignment], None]) -> None:
        for indices in self.plan.rounds():
            self._finish(indices, self.history.propose, work)
        if (finalist := _choose_finalist(self.history.study, self.plan.trials)) is not None:
            self._finish([self.plan.trials], lambda _index: finalist, work)

    def _finish(
        self,
        indices: Sequence[int],
        propose: Callable[[int], FrozenTrial],
        work: Callable[[Assignment], None],
    ) -> None:
        """Run the trials of a round that nobody runs, wait for the others, and add all to the history."""
        while True:
            pieces = self._claim(indices, propose)
            for _ in self.runner.engine.stream(work, pieces, self.runner.resources):
                self.progress.show(read_trials(self.ledger.study))
            finished = self.ledger.finished()
            if finished.keys() >= set(indices):
                break
            time.sleep(POLL_SECONDS)
        self.ledger.release()
        for index in indices:
            self.history.add(finished[index])

    def _claim(self, indices: Sequence[int], propose: Callable[[int], FrozenTrial]) -> Iterator[Assignment]:
        for index in indices:
            if index not in self.ledger.taken():
                trial = propose(index)
                trial_id = self.ledger.claim(trial)
                if trial_id is not None:
                    values = self.plan.fixed.get(index, trial.params)
                    yield Assignment(index, trial_id, values, self.history.curves)


def _choose_finalist(study: Study, index: int) -> FrozenTrial | None:
    """If no trial is complete, return the best pruned one, to be trained with all its epochs; None if there is none.

    `halving` prunes every trial if the best one is among the first `startup_trials`.
    """
    trials = study.get_trials(deepcopy=False)
    pruned = [trial for trial in trials if FAILURE not in trial.user_attrs and curve_of(trial)]
    if not pruned or any(trial.state == TrialState.COMPLETE for trial in trials):
        return None
    best = max(pruned, key=lambda trial: (curve_of(trial)[-1], -index_of(trial)))
    return create_trial(
        state=TrialState.RUNNING,
        params=best.params,
        distributions=best.distributions,
        user_attrs={INDEX: index},
    )
