"""The hyperparameter search: an Optuna study that can be interrupted and resumed.

Each trial of the plan has an index, kept as an attribute of Optuna's trial. A worker runs the smallest index that has neither
finished nor started, so that an interrupted trial is run again at its position. The sampler is seeded by the index, and not
continued from the previous trial. So a study with one worker gives the same result whether it was interrupted or not.
"""

import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial

import optuna
from optuna import Study, Trial, TrialPruned
from optuna.exceptions import ExperimentalWarning
from optuna.importance import get_param_importances
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from visiongate.errors import VisiongateError
from visiongate.optimization.failures import Failure, SearchFailedError, explain_failures
from visiongate.optimization.pruning import should_prune
from visiongate.optimization.space import search_space, suggest
from visiongate.optimization.storage import StudyStorage
from visiongate.records.search import Values
from visiongate.settings.model import Model
from visiongate.settings.optimize import Optimize, SearchRange
from visiongate.settings.schema import Settings

# Reports the score after an epoch, and raises an exception that ends the trial if it is pruned.
Report = Callable[[int, float], None]
# Trains with the values of the trial with this index and returns its score; higher is better.
Objective = Callable[[int, Values, Report], float]
INDEX, FAILURE = "index", "failure"
# The importance of a setting compares the best tenth of the complete trials with all of them.
MIN_COMPLETE = 10
POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class StudyPlan:
    """The trials of a study.

    Attributes:
        name: The study's name, which must change with everything that a trial's value depends on.
        trials: The number of trials.
        optimize: Sampler, pruner and epochs.
        space: The settings that the sampler chooses.
        fixed: The values of each trial by its index, if there is no space.
        title: What the progress calls the study.
        first_check: The first epoch after which a trial may be pruned.
    """

    name: str
    trials: int
    optimize: Optimize
    space: list[SearchRange] = field(default_factory=list)
    fixed: dict[int, Values] = field(default_factory=dict)
    title: str = "search"
    first_check: int = 1


@dataclass(frozen=True, slots=True)
class TrialResult:
    """A finished trial.

    Attributes:
        trial: Its index, from 0.
        state: ``complete``, ``pruned`` or ``failed``.
        value: Its score; None unless it is complete.
        curve: The score after each epoch.
        values: The settings that it tried.
        failure: Why it failed; None if it did not.
    """

    trial: int
    state: str
    value: float | None
    curve: list[float]
    values: Values
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class SearchResult:
    """A finished study: its trials by index, the best one and its score, and the importance of each setting."""

    trials: list[TrialResult]
    best: TrialResult
    best_value: float
    importances: dict[str, float]


class _SurplusTrialError(Exception):
    """Another worker runs the trial that this worker enqueued or saw waiting."""


def plan_search(settings: Settings, name: str, first_check: int = 1) -> StudyPlan:
    """Plan the study of ``settings.optimize``. The sampler chooses the values of each trial.

    Args:
        settings: The settings.
        name: The study's name.
        first_check: The first epoch after which a trial may be pruned.

    Raises:
        SettingsError: The space has a setting that cannot be searched.
    """
    optimize = settings.optimize
    if not isinstance(settings.model, Model):
        # A baseline or a probe is fitted in one step, after which nothing is left to prune.
        optimize = optimize.model_copy(update={"pruner": "none"})
    return StudyPlan(name, optimize.trials, optimize, search_space(settings), first_check=first_check)


def run_trials(
    plan: StudyPlan,
    storage: StudyStorage,
    objective: Objective,
    show: Callable[[Sequence[TrialResult]], None] = lambda _trials: None,
) -> None:
    """Run the trials of a study that have not finished, and wait for those of other workers.

    Args:
        plan: The study.
        storage: Its storage.
        objective: Trains a trial.
        show: Called with the finished trials after each trial.
    """
    study = open_study(plan, storage)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        while (index := _enqueue_next(study, plan)) is not None:
            study.sampler = _make_sampler(plan.optimize, index)
            study.optimize(partial(_run_trial, plan, objective), n_trials=1, catch=(_SurplusTrialError,))
            show(read_trials(study))


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
    return sorted((_read_trial(trial) for trial in finished), key=lambda result: result.trial)


def summarize_study(study: Study, plan: StudyPlan) -> SearchResult:
    """Return the result of a finished search.

    Raises:
        SearchFailedError: Every trial failed.
    """
    trials = read_trials(study)
    complete = [(trial.value, trial) for trial in trials if trial.value is not None]
    if not complete:
        failures = [trial.failure for trial in trials if trial.failure is not None]
        raise SearchFailedError(explain_failures(failures, plan.optimize))
    best_value, best = max(complete, key=lambda pair: pair[0])
    return SearchResult(
        trials, best, best_value, _importances(study) if len(complete) >= MIN_COMPLETE else {}
    )


def _read_trial(trial: FrozenTrial) -> TrialResult:
    failure = Failure(**trial.user_attrs[FAILURE]) if FAILURE in trial.user_attrs else None
    return TrialResult(
        trial=trial.user_attrs[INDEX],
        state="failed" if failure else trial.state.name.lower(),
        value=trial.value if trial.state == TrialState.COMPLETE else None,
        curve=_curve(trial),
        values=dict(trial.params),
        failure=failure,
    )


def _run_trial(plan: StudyPlan, objective: Objective, trial: Trial) -> float:
    # If no trial was waiting any more, Optuna made one without an index.
    index: int | None = trial.user_attrs.get(INDEX)
    if index is None or _is_duplicate(trial, index):
        raise _SurplusTrialError
    chosen = {dimension.setting: suggest(trial, dimension) for dimension in plan.space}
    values = plan.fixed.get(index, chosen)
    try:
        return objective(index, values, partial(_report, plan, trial))
    except VisiongateError as error:
        # A training that diverges, or a network that cannot be built, is a bad trial and does not end the study.
        trial.set_user_attr(FAILURE, asdict(Failure.of(error)))
        raise TrialPruned from None


def _report(plan: StudyPlan, trial: Trial, epoch: int, score: float) -> None:
    trial.report(score, epoch)
    active = _active_trials(trial.study)
    curve = next(_curve(each) for each in active if each.number == trial.number)
    others = [_curve(each) for each in active if each.number != trial.number]
    index = trial.user_attrs[INDEX]
    is_searched = bool(plan.space) and index < plan.trials
    if is_searched and should_prune(plan.optimize, index, curve, others, plan.first_check):
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
            study.enqueue_trial({}, user_attrs={INDEX: index})
            return index
        if not any(trial.state == TrialState.RUNNING for trial in active):
            return _enqueue_finalist(study, plan, active)
        time.sleep(POLL_SECONDS)


def _enqueue_finalist(study: Study, plan: StudyPlan, active: Sequence[FrozenTrial]) -> int | None:
    """If no trial is complete, train the best pruned one again, with all its epochs; return its index, None if there is none.

    `halving` prunes every trial if the best one is among the first `startup_trials`.
    """
    pruned = [trial for trial in active if FAILURE not in trial.user_attrs and _curve(trial)]
    is_complete = any(trial.state == TrialState.COMPLETE for trial in active)
    if is_complete or not pruned or any(_index(trial) == plan.trials for trial in active):
        return None
    best = max(pruned, key=lambda trial: (_curve(trial)[-1], -_index(trial)))
    study.enqueue_trial(best.params, user_attrs={INDEX: plan.trials})
    return plan.trials


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
