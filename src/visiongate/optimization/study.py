"""The hyperparameter search: an Optuna study that can be interrupted and resumed.

Each trial of the plan has an index, kept as an attribute of Optuna's trial. A worker runs the smallest index that has neither
finished nor started, so that an interrupted trial is run again at its position. The sampler is seeded by the index, and not
continued from the previous trial. So a study with one worker gives the same result whether it was interrupted or not.
"""

import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import optuna
from optuna import Study, Trial, TrialPruned
from optuna.exceptions import ExperimentalWarning
from optuna.importance import get_param_importances
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from visiongate.errors import DivergedError
from visiongate.optimization.pruning import should_prune
from visiongate.optimization.space import search_space, suggest
from visiongate.optimization.storage import StudyStorage
from visiongate.records.search import Values
from visiongate.settings.optimize import Optimize, SearchRange
from visiongate.settings.schema import Settings

# Reports the score after an epoch, and raises an exception that ends the trial if it is pruned.
Report = Callable[[int, float], None]
# Trains with the values of the trial with this index and returns its score; higher is better.
Objective = Callable[[int, Values, Report], float]
INDEX = "index"
POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class StudyPlan:
    """The trials of a study.

    Attributes:
        name: The study's name, which must change with everything that a trial's value depends on.
        trials: The number of trials.
        optimize: Sampler, pruner and epochs.
        space: The settings that the sampler chooses.
        fixed: The values that the sampler does not choose, by index of the trial.
    """

    name: str
    trials: int
    optimize: Optimize
    space: list[SearchRange] = field(default_factory=list)
    fixed: dict[int, Values] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrialResult:
    """A finished trial.

    Attributes:
        trial: Its index, from 0. In a search, trial 0 is the current settings.
        state: ``complete`` or ``pruned``.
        value: Its score; None if it was pruned.
        curve: The score after each epoch.
        values: The settings that it tried.
    """

    trial: int
    state: str
    value: float | None
    curve: list[float]
    values: Values


@dataclass(frozen=True, slots=True)
class SearchResult:
    """A finished study: its trials by index, the best one and its score, and the importance of each setting."""

    trials: list[TrialResult]
    best: TrialResult
    best_value: float
    importances: dict[str, float]


class _SurplusTrialError(Exception):
    """Another worker runs the trial that this worker enqueued or saw waiting."""


def plan_search(settings: Settings, name: str) -> StudyPlan:
    """Plan the study of ``settings.optimize``. Trial 0 has the current settings, the sampler chooses the others.

    Raises:
        SettingsError: The space has a setting that cannot be searched.
    """
    space = search_space(settings)
    current = {dimension.setting: settings.value(dimension.setting) for dimension in space}
    return StudyPlan(name, settings.optimize.trials, settings.optimize, space, {0: current})


def run_trials(plan: StudyPlan, storage: StudyStorage, objective: Objective) -> None:
    """Run the trials of a study that have not finished, and wait for those of other workers."""
    study = open_study(plan, storage)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        while (index := _enqueue_next(study, plan)) is not None:
            study.sampler = _make_sampler(plan.optimize, index)
            study.optimize(partial(_run_trial, plan, objective), n_trials=1, catch=(_SurplusTrialError,))


def open_study(plan: StudyPlan, storage: StudyStorage) -> Study:
    """Open a study in its storage, or create it."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(
        storage=storage.open(),
        study_name=plan.name,
        direction="maximize",
        load_if_exists=True,
        pruner=optuna.pruners.NopPruner(),
    )


def fail_interrupted(study: Study) -> None:
    """Mark the trials as failed that an interrupted process left in the state ``running``."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)


def read_trials(study: Study) -> list[TrialResult]:
    """Return the finished trials by index."""
    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    results = [
        TrialResult(
            trial=trial.user_attrs[INDEX],
            state=trial.state.name.lower(),
            value=trial.value if trial.state == TrialState.COMPLETE else None,
            curve=_curve(trial),
            values=dict(trial.params),
        )
        for trial in finished
    ]
    return sorted(results, key=lambda result: result.trial)


def summarize_study(study: Study) -> SearchResult:
    """Return the result of a finished search.

    Raises:
        DivergedError: No trial completed.
    """
    trials = read_trials(study)
    complete = [(trial.value, trial) for trial in trials if trial.value is not None]
    if not complete:
        raise DivergedError("every trial diverged; lower the learning rates in optimize.space")
    # Of equal values, `max` returns the first: the current settings, if nothing is better.
    best_value, best = max(complete, key=lambda pair: pair[0])
    return SearchResult(trials, best, best_value, _importances(study))


def _run_trial(plan: StudyPlan, objective: Objective, trial: Trial) -> float:
    # If no trial was waiting any more, Optuna made one without an index.
    index: int | None = trial.user_attrs.get(INDEX)
    if index is None or _is_duplicate(trial, index):
        raise _SurplusTrialError
    values = dict(plan.fixed.get(index, {}))
    values |= {dimension.setting: suggest(trial, dimension) for dimension in plan.space}
    try:
        return objective(index, values, partial(_report, plan, trial))
    except DivergedError:
        # A training that diverges is a bad trial, and does not end the study.
        raise TrialPruned from None


def _report(plan: StudyPlan, trial: Trial, epoch: int, score: float) -> None:
    trial.report(score, epoch)
    active = _active_trials(trial.study)
    curve = next(_curve(each) for each in active if each.number == trial.number)
    others = [_curve(each) for each in active if each.number != trial.number]
    if plan.space and should_prune(plan.optimize, trial.user_attrs[INDEX], curve, others):
        raise TrialPruned


def _enqueue_next(study: Study, plan: StudyPlan) -> int | None:
    """Enqueue the next trial unless one is waiting; return its index, or None when all trials have finished."""
    while True:
        # Trials of other machines that stopped without finishing. It does nothing for a journal.
        optuna.storages.fail_stale_trials(study)
        active = _active_trials(study)
        waiting = [_index(trial) for trial in active if trial.state == TrialState.WAITING]
        missing = set(range(plan.trials)) - {_index(trial) for trial in active}
        if waiting:
            return min(waiting)
        if missing:
            index = min(missing)
            searched = {dimension.setting for dimension in plan.space}
            values = {key: value for key, value in plan.fixed.get(index, {}).items() if key in searched}
            study.enqueue_trial(values, user_attrs={INDEX: index})
            return index
        if not any(trial.state == TrialState.RUNNING for trial in active):
            return None
        time.sleep(POLL_SECONDS)


def _active_trials(study: Study) -> list[FrozenTrial]:
    """Return the trials that have an index and did not fail."""
    trials = study.get_trials(deepcopy=False)
    return [trial for trial in trials if trial.state != TrialState.FAIL and INDEX in trial.user_attrs]


def _is_duplicate(trial: Trial, index: int) -> bool:
    """Return whether two workers enqueued the same trial at once; the first one counts."""
    active = _active_trials(trial.study)
    return any(_index(other) == index and other.number < trial.number for other in active)


def _index(trial: FrozenTrial) -> int:
    index: int = trial.user_attrs[INDEX]
    return index


def _curve(trial: FrozenTrial) -> list[float]:
    return [value for _, value in sorted(trial.intermediate_values.items())]


def _make_sampler(optimize: Optimize, index: int) -> BaseSampler:

    seed = (optimize.seed * 1_000_003 + index) % 2**32
    if optimize.sampler == "tpe":
        return TPESampler(n_startup_trials=optimize.startup_trials, multivariate=True, seed=seed)
    return RandomSampler(seed=seed)


def _importances(study: Study) -> dict[str, float]:
    with warnings.catch_warnings(), suppress(RuntimeError, ValueError):
        # Too few trials, or equal values: a warning or an error.
        warnings.simplefilter("ignore")
        importances = get_param_importances(study)
        # Optuna returns equal importances in any order.
        return dict(sorted(importances.items(), key=lambda item: (-item[1], item[0])))
    return {}
