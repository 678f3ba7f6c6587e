"""The hyper-parameter search: an Optuna study whose trials have places, each of which is run to its end once.

A worker takes the smallest place that nobody has, and whatever never ended is taken again. The sampler is seeded by the
place, not carried over from the trial before. So one worker's study ends the same whether it was interrupted or not, and
depends on the settings and the data alone; of several workers' nothing is lost and no place is run to its end twice.
"""

import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from visiongate.errors import DivergedError
from visiongate.optimization.pruning import is_hopeless
from visiongate.optimization.space import Values, search_space, suggest
from visiongate.optimization.storage import Place, explained
from visiongate.settings.optimize import Optimize, SearchRange
from visiongate.settings.schema import Settings

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

Report = Callable[[int, float], None]  # takes an epoch and its value; raises to end a pruned trial
Objective = Callable[[int, Values, Report], float]  # takes the trial's place, its values and a report
PLACE, WORKER = "place", "worker"  # what is noted on a trial
WAIT_SECONDS = 0.2  # between two looks at what others are at


@dataclass(frozen=True, slots=True)
class Plan:
    """What all workers of a study must know alike."""

    name: str  # must change with whatever changes a trial's value
    places: int
    optimize: Optimize
    space: list[SearchRange] = field(default_factory=list)
    fixed: dict[int, Values] = field(default_factory=dict)  # by place: what is not left to the sampler


@dataclass(frozen=True, slots=True)
class TrialResult:
    """One finished trial."""

    trial: int  # its place, from 0; in a search, trial 0 is the current settings
    state: str  # complete or pruned
    value: float | None  # of a pruned trial, none
    curve: list[float]  # the value after each epoch
    values: Values


@dataclass(frozen=True, slots=True)
class SearchResult:
    """A finished study: its trials in order, the best of them, and the share of the variation that each setting explains."""

    trials: list[TrialResult]
    best: TrialResult
    best_value: float
    importances: dict[str, float]


class _WithdrawnError(Exception):
    """A trial without a place, or whose place somebody else has."""


def plan_search(settings: Settings, name: str) -> Plan:
    """Plan the study of ``settings.optimize``: trial 0 is the current settings, the others are drawn.

    Raises:
        SettingsError: The space holds what cannot be searched.
    """
    space = search_space(settings)
    current = {dimension.setting: settings.value(dimension.setting) for dimension in space}
    return Plan(name, settings.optimize.trials, settings.optimize, space, {0: current})


def work(plan: Plan, place: Place, objective: Objective, worker: str = "") -> None:
    """Run places of a study until none is left, taking up what its storage holds.

    Args:
        plan: The study.
        place: Its storage.
        objective: Trains with the values it is given, reports after each epoch, and returns the value, to be maximized.
        worker: Who runs them, noted on each trial.
    """
    with explained(place.address):
        study = open_study(plan, place)
        while (wanted := _next_place(study, plan)) is not None:
            study.sampler = _make_sampler(plan.optimize, wanted)
            _Attempt(plan, objective, worker).run(study)


def open_study(plan: Plan, place: Place) -> "Study":
    """Open a study in its storage; make it if there is none."""
    import optuna  # noqa: PLC0415 - for the search alone

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(
        storage=place.open(),
        study_name=plan.name,
        direction="maximize",
        load_if_exists=True,
        pruner=optuna.pruners.NopPruner(),
    )


def fail_running(study: "Study", worker: str | None = None) -> list[int]:
    """Fail the trials that a worker left running, or that anybody did; return their places, to be taken again."""
    left = [trial for trial in _running(study) if worker is None or trial.user_attrs.get(WORKER) == worker]
    fail_trials(study, {trial.number for trial in left})
    return [trial.user_attrs[PLACE] for trial in left if PLACE in trial.user_attrs]


def running_nameless(study: "Study") -> set[int]:
    """Return the numbers of the running trials that no worker has put its name on."""
    return {trial.number for trial in _running(study) if WORKER not in trial.user_attrs}


def fail_trials(study: "Study", numbers: set[int]) -> None:
    """Fail trials by number, unless they ended meanwhile."""
    from optuna.trial import TrialState  # noqa: PLC0415 - for the search alone

    for number in sorted(numbers):
        study.tell(number, state=TrialState.FAIL, skip_if_finished=True)


def _running(study: "Study") -> "list[FrozenTrial]":
    from optuna.trial import TrialState  # noqa: PLC0415 - for the search alone

    return study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))


def read_trials(study: "Study") -> list[TrialResult]:
    """Return the finished trials by place."""
    from optuna.trial import TrialState  # noqa: PLC0415 - for the search alone

    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    return sorted(
        (
            TrialResult(
                trial=trial.user_attrs[PLACE],
                state=trial.state.name.lower(),
                value=trial.value if trial.state == TrialState.COMPLETE else None,
                curve=_curve(trial),
                values=dict(trial.params),
            )
            for trial in finished
        ),
        key=lambda result: result.trial,
    )


def summarize(study: "Study") -> SearchResult:
    """Judge a search that has ended.

    Raises:
        DivergedError: No trial came to its end.
    """
    trials = read_trials(study)
    # `max` takes the earliest of equals: the current settings before a proposal that is no better.
    complete = [(trial.value, trial) for trial in trials if trial.value is not None]
    if not complete:
        raise DivergedError("no trial came to its end; lower the learning rates in optimize.space")
    best_value, best = max(complete, key=lambda pair: pair[0])
    return SearchResult(trials, best, best_value, _importances(study))


class _Attempt:
    """One trial, from its start to whatever becomes of it."""

    def __init__(self, plan: Plan, objective: Objective, worker: str) -> None:
        self._plan = plan
        self._objective = objective
        self._worker = worker
        self._lost = False  # somebody took this worker for dead, and the place away from it

    def run(self, study: "Study") -> None:
        """Run whichever trial waits; one that turns out to be another's, or is lost, is left."""
        from optuna.exceptions import ExperimentalWarning  # noqa: PLC0415 - for the search alone

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            try:
                study.optimize(self._try, n_trials=1, catch=(_WithdrawnError,))
            except Exception:
                if not self._lost:  # Optuna fails in several ways to finish a trial that is finished
                    raise

    def _try(self, trial: "Trial") -> float:
        from optuna import TrialPruned  # noqa: PLC0415 - for the search alone

        place: int | None = trial.user_attrs.get(PLACE)
        if place is None or _taken_before(trial, place):
            raise _WithdrawnError
        trial.set_user_attr(WORKER, self._worker)
        values = dict(self._plan.fixed.get(place, {}))
        values |= {dimension.setting: suggest(trial, dimension) for dimension in self._plan.space}
        try:
            value = self._objective(place, values, partial(self._report, trial, place))
        except DivergedError:  # a training that diverges is a bad trial, not the end of the study
            raise TrialPruned from None
        self._lost = _is_finished(trial)
        return value

    def _report(self, trial: "Trial", place: int, epoch: int, value: float) -> None:
        from optuna import TrialPruned  # noqa: PLC0415 - for the search alone
        from optuna.exceptions import UpdateFinishedTrialError  # noqa: PLC0415

        try:
            trial.report(value, epoch)
        except UpdateFinishedTrialError:
            self._lost = True
            raise
        everyone = trial.study.get_trials(deepcopy=False)
        curve = _curve(everyone[trial.number])
        others = [_curve(other) for other in _alive(everyone) if other.number != trial.number]
        if self._plan.space and is_hopeless(self._plan.optimize, place, curve, others):
            raise TrialPruned


def _next_place(study: "Study", plan: Plan) -> int | None:
    """Return the place to run next, and see that a trial waits for it; None when all have ended."""
    import optuna  # noqa: PLC0415 - for the search alone
    from optuna.trial import TrialState  # noqa: PLC0415

    first: int
    while True:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            optuna.storages.fail_stale_trials(study)
        alive = _alive(study.get_trials(deepcopy=False))
        waiting = [trial.user_attrs[PLACE] for trial in alive if trial.state == TrialState.WAITING]
        missing = set(range(plan.places)) - {trial.user_attrs[PLACE] for trial in alive}
        if waiting:
            first = min(waiting)
            return first
        if missing:
            first = min(missing)
            searched = {dimension.setting for dimension in plan.space}
            values = {key: value for key, value in plan.fixed.get(first, {}).items() if key in searched}
            study.enqueue_trial(values, user_attrs={PLACE: first})
            return first
        if not any(trial.state == TrialState.RUNNING for trial in alive):
            return None
        time.sleep(WAIT_SECONDS)


def _alive(trials: "list[FrozenTrial]") -> "list[FrozenTrial]":
    """Return the trials that have a place and did not fail."""
    from optuna.trial import TrialState  # noqa: PLC0415 - for the search alone

    return [trial for trial in trials if trial.state != TrialState.FAIL and PLACE in trial.user_attrs]


def _taken_before(trial: "Trial", place: int) -> bool:
    """Say whether two workers put the same place in the queue at once: the first stands."""
    alive = _alive(trial.study.get_trials(deepcopy=False))
    return any(other.user_attrs[PLACE] == place and other.number < trial.number for other in alive)


def _is_finished(trial: "Trial") -> bool:
    return bool(trial.study.get_trials(deepcopy=False)[trial.number].state.is_finished())


def _curve(trial: "FrozenTrial") -> list[float]:
    return [value for _, value in sorted(trial.intermediate_values.items())]


def _make_sampler(optimize: Optimize, place: int) -> Any:  # noqa: ANN401 - optuna's, imported late
    from optuna import samplers  # noqa: PLC0415

    seed = (optimize.seed * 1_000_003 + place) % 2**32
    if optimize.sampler == "tpe":
        return samplers.TPESampler(n_startup_trials=optimize.startup_trials, multivariate=True, seed=seed)
    return samplers.RandomSampler(seed=seed)


def _importances(study: "Study") -> dict[str, float]:
    from optuna.importance import get_param_importances  # noqa: PLC0415

    with suppress(RuntimeError, ValueError):  # too few trials, or all of one value
        return get_param_importances(study)
    return {}
