"""The hyper-parameter search: an Optuna study on a journal file, which ends the same whether it was interrupted or not.

Each trial's sampler is seeded by the trial's place in the study, not carried over from the trial before, and a trial that
never finished is drawn again. So what a study proposes depends on the settings and the data alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from visiongate.config import Optimize, OptionValue, SearchRange, Settings
from visiongate.errors import DivergedError

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

Values = dict[str, OptionValue]  # by the setting's dotted name
Report = Callable[[int, float], None]  # takes an epoch and its value; raises to end a pruned trial
Objective = Callable[[int, Values, Report], float]  # takes the trial's place, its values and a report


@dataclass(frozen=True, slots=True)
class TrialResult:
    """One finished trial."""

    trial: int  # its place, from 0; trial 0 is the current settings
    state: str  # complete or pruned
    value: float | None  # of a pruned trial, the last it reported, if any
    curve: list[float]  # the value after each epoch
    values: Values


@dataclass(frozen=True, slots=True)
class SearchResult:
    """A finished study: its trials in order, the best of them, and the share of the variation that each setting explains."""

    trials: list[TrialResult]
    best: TrialResult
    best_value: float
    importances: dict[str, float]


def search(settings: Settings, journal: Path, name: str, objective: Objective) -> SearchResult:
    """Run the study of ``settings.optimize`` to its end, taking up what the journal holds of it.

    Args:
        settings: The space, and the current values, which trial 0 tries.
        journal: The study's file; made if there is none.
        name: The study's name in the journal, which must change with whatever changes a trial's value.
        objective: Trains with the values it is given, reports after each epoch, and returns the value, to be maximised.
    """
    study = _open_study(settings.optimize, journal, name)
    space = [
        _reach(dimension, settings.value(dimension.setting)) for dimension in settings.optimize.space.values()
    ]
    current = {dimension.setting: settings.value(dimension.setting) for dimension in space}
    while (place := len(_finished(study))) < settings.optimize.trials:
        if place == 0:
            study.enqueue_trial(current)
        study.sampler = _sampler(settings.optimize, place)
        _run_trial(study, space, place, objective)
    return _summarise(study)


def _open_study(optimize: Optimize, journal: Path, name: str) -> "Study":
    import optuna  # noqa: PLC0415 - for the search alone
    from optuna.storages import JournalStorage  # noqa: PLC0415
    from optuna.storages.journal import JournalFileBackend  # noqa: PLC0415

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    journal.parent.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(journal))),
        study_name=name,
        direction="maximize",
        load_if_exists=True,
        # Epochs count from 1, and so must the first that may be pruned.
        pruner=optuna.pruners.MedianPruner(optimize.startup_trials, optimize.warmup_epochs + 1),
    )
    _drop_unfinished(study)
    return study


def _drop_unfinished(study: "Study") -> None:
    """Fail what an interrupted process left running or waiting; it will be drawn again from the same seed."""
    from optuna.trial import TrialState  # noqa: PLC0415

    for _ in study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        study.ask()  # a waiting trial must run before it can fail
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)


def _sampler(optimize: Optimize, place: int) -> Any:  # noqa: ANN401 - optuna's, imported late
    from optuna.samplers import TPESampler  # noqa: PLC0415

    seed = (optimize.seed * 1_000_003 + place) % 2**32
    return TPESampler(n_startup_trials=optimize.startup_trials, multivariate=True, seed=seed)


def _reach(dimension: SearchRange, current: OptionValue) -> SearchRange:
    """Widen a range to the current value, so that trial 0 lies within: ``-S model.lr=1e-4`` must not break the search."""
    if dimension.choices is not None:
        missing = [] if current in dimension.choices else [current]
        return dimension.model_copy(update={"choices": [*dimension.choices, *missing]})
    low, high, value = float(dimension.low or 0), float(dimension.high or 0), float(current)  # type: ignore[arg-type]
    return dimension.model_copy(update={"low": min(low, value), "high": max(high, value)})


def _suggest(trial: "Trial", dimension: SearchRange) -> OptionValue:
    if dimension.choices is not None:
        chosen: Any = trial.suggest_categorical(dimension.setting, dimension.choices)
        return cast("OptionValue", chosen)
    low, high = float(dimension.low or 0), float(dimension.high or 0)
    if dimension.kind == "int":
        return trial.suggest_int(dimension.setting, int(low), int(high))
    return trial.suggest_float(dimension.setting, low, high, log=dimension.kind == "log")


def _run_trial(study: "Study", space: list[SearchRange], place: int, objective: Objective) -> None:
    from optuna import TrialPruned  # noqa: PLC0415
    from optuna.trial import TrialState  # noqa: PLC0415

    trial = study.ask()
    values = {dimension.setting: _suggest(trial, dimension) for dimension in space}

    def report(epoch: int, value: float) -> None:
        trial.report(value, epoch)
        if trial.should_prune():
            raise TrialPruned

    try:
        study.tell(trial, objective(place, values, report))
    except (TrialPruned, DivergedError):  # a training that diverges is a bad trial, not the end of the study
        study.tell(trial, state=TrialState.PRUNED)


def _finished(study: "Study") -> list["FrozenTrial"]:
    from optuna.trial import TrialState  # noqa: PLC0415

    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))


def _summarise(study: "Study") -> SearchResult:
    trials = [
        TrialResult(
            trial=place,
            state=trial.state.name.lower(),
            value=trial.value,
            curve=[value for _, value in sorted(trial.intermediate_values.items())],
            values=dict(trial.params),
        )
        for place, trial in enumerate(_finished(study))
    ]
    # `max` takes the earliest of equals: the current settings before a proposal that is no better.
    complete = [
        (trial.value, trial) for trial in trials if trial.state == "complete" and trial.value is not None
    ]
    if not complete:
        raise DivergedError("no trial came to its end; lower the learning rates in optimize.space")
    best_value, best = max(complete, key=lambda pair: pair[0])
    return SearchResult(trials, best, best_value, _importances(study))


def _importances(study: "Study") -> dict[str, float]:
    from optuna.importance import get_param_importances  # noqa: PLC0415

    try:
        return get_param_importances(study)
    except (RuntimeError, ValueError):  # too few trials, or all of one value
        return {}
