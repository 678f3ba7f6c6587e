"""Run a trial, in any process that reaches the study's storage."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass

from optuna import Study, TrialPruned
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from visiongate.errors import VisiongateError
from visiongate.optimization.failures import Failure
from visiongate.optimization.plan import StudyPlan
from visiongate.optimization.pruning import Curve, should_prune
from visiongate.optimization.storage import StudyStorage
from visiongate.records.search import Values

# Reports the score so far after a step, and raises an exception that ends the trial if it is pruned. Steps count the epochs of
# all folds, from 1.
Report = Callable[[int, float], None]
# Trains with the values of the trial with this index and returns its score; higher is better.
Objective = Callable[[int, Values, Report], float]
# Attributes of Optuna's trials: the position in the plan, and why a trial failed.
INDEX, FAILURE = "index", "failure"


@dataclass(frozen=True, slots=True)
class Assignment:
    """A trial to run.

    Attributes:
        index: Its position in the plan.
        trial_id: Optuna's, in the storage.
        values: Settings by dotted name.
        others: The curves of the trials of earlier rounds, to which the pruner compares it.
    """

    index: int
    trial_id: int
    values: Values
    others: Sequence[Curve]


@dataclass(frozen=True, slots=True)
class TrialResult:
    """A finished trial.

    Attributes:
        trial: Its index, from 0.
        state: ``complete``, ``pruned`` or ``failed``.
        value: Its score; None unless it is complete.
        curve: The score so far after each step.
        values: The settings that it tried.
        failure: Why it failed; None if it did not.
    """

    trial: int
    state: str
    value: float | None
    curve: list[float]
    values: Values
    failure: Failure | None = None


def run_trial(plan: StudyPlan, storage: StudyStorage, objective: Objective, assignment: Assignment) -> None:
    """Run a trial, and write each epoch and the result to the storage; a second run overwrites them with the same.

    Raises:
        StudyError: The storage is unavailable.
    """
    records = storage.open()
    try:
        _run(plan, records, objective, assignment)
    except UpdateFinishedTrialError:
        # Another machine runs the trial, because this one seemed to be lost.
        return
    except BaseException:
        with suppress(UpdateFinishedTrialError, SQLAlchemyError):
            records.set_trial_state_values(assignment.trial_id, TrialState.FAIL)
        raise


def read_trials(study: Study) -> list[TrialResult]:
    """Return the finished trials by index."""
    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    return sorted((_read_trial(trial) for trial in finished), key=lambda result: result.trial)


def curve_of(trial: FrozenTrial) -> list[float]:
    """Return the score after each step."""
    curve: list[float] = []
    for step, value in sorted(trial.intermediate_values.items()):
        extend_curve(curve, step, value)
    return curve


def extend_curve(curve: list[float], step: int, value: float) -> None:
    """Append the score after a step; the steps before it that a training skipped keep the previous score."""
    curve.extend(curve[-1:] * (step - 1 - len(curve)))
    curve.append(value)


def index_of(trial: FrozenTrial) -> int:
    """Return a trial's position in the plan."""
    index: int = trial.user_attrs[INDEX]
    return index


def _run(plan: StudyPlan, records: BaseStorage, objective: Objective, assignment: Assignment) -> None:
    trial_id, curve = assignment.trial_id, list[float]()

    def report(step: int, score: float) -> None:
        extend_curve(curve, step, score)
        records.set_trial_intermediate_value(trial_id, step, score)
        if plan.is_searched(assignment.index) and should_prune(
            plan.optimize, assignment.index, curve, assignment.others, plan.race
        ):
            raise TrialPruned

    try:
        value = objective(assignment.index, assignment.values, report)
    except TrialPruned:
        pass
    except VisiongateError as error:
        # A training that diverges, or a network that cannot be built, is a bad trial and does not end the study.
        records.set_trial_user_attr(trial_id, FAILURE, asdict(Failure.of(error)))
    else:
        records.set_trial_state_values(trial_id, TrialState.COMPLETE, [value])
        return
    # As Optuna, which takes the last score for the value.
    records.set_trial_state_values(trial_id, TrialState.PRUNED, curve[-1:] or None)


def _read_trial(trial: FrozenTrial) -> TrialResult:
    failure = Failure(**trial.user_attrs[FAILURE]) if FAILURE in trial.user_attrs else None
    return TrialResult(
        trial=index_of(trial),
        state="failed" if failure else trial.state.name.lower(),
        value=trial.value if trial.state == TrialState.COMPLETE else None,
        curve=curve_of(trial),
        values=dict(trial.params),
        failure=failure,
    )
