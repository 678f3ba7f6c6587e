"""The result of a finished study."""

import warnings
from contextlib import suppress
from dataclasses import dataclass

from optuna import Study

from visiongate.optimization.failures import SearchFailedError, explain_failures
from visiongate.optimization.plan import StudyPlan
from visiongate.optimization.trials import TrialResult, read_trials

# The importance of a setting compares the best tenth of the complete trials with all of them.
MIN_COMPLETE = 10


@dataclass(frozen=True, slots=True)
class SearchResult:
    """A finished study: its trials by index, the best one and its score, and the importance of each setting."""

    trials: list[TrialResult]
    best: TrialResult
    best_value: float
    importances: dict[str, float]


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


def _importances(study: Study) -> dict[str, float]:
    from optuna.importance import get_param_importances  # noqa: PLC0415 - scikit-learn is slow to import

    with warnings.catch_warnings(), suppress(RuntimeError, ValueError):
        # Too few trials, or equal values: a warning or an error.
        warnings.simplefilter("ignore")
        importances = get_param_importances(study)
        # Optuna returns equal importances in any order.
        return dict(sorted(importances.items(), key=lambda item: (-item[1], item[0])))
    return {}
