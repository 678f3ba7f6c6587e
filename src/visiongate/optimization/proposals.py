"""What the sampler proposes for a trial, from the results of earlier trials alone."""

import warnings

import optuna
from optuna import Study
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from visiongate.optimization.plan import StudyPlan
from visiongate.optimization.pruning import Curve
from visiongate.optimization.space import bounds
from visiongate.optimization.trials import INDEX, curve_of
from visiongate.records.search import Values
from visiongate.settings.optimize import Optimize, SearchRange


class History:
    """The finished trials by index, as a study in memory.

    It does not depend on when trials ended, or on how often they were interrupted, so neither does a proposal: the sampler is
    seeded by the index of its trial, and not continued from the previous one.
    """

    def __init__(self, plan: StudyPlan) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.study: Study = optuna.create_study(direction="maximize", pruner=optuna.pruners.NopPruner())
        self.curves = list[Curve]()
        self._plan = plan
        self._distributions = {dimension.setting: distribution(dimension) for dimension in plan.space}

    def add(self, trial: FrozenTrial) -> None:
        """Add the result of the next index."""
        self.study.add_trial(trial)
        self.curves.append(curve_of(trial))

    def propose(self, index: int) -> FrozenTrial:
        """Return the trial to run: its index, and the values of its settings. The first ones have values known to work."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            self.study.sampler = _make_sampler(self._plan.optimize, index)
            if known := _known_values(self._plan, index):
                self.study.enqueue_trial(known)
            trial = self.study.ask(self._distributions)
        # The study keeps only finished trials.
        self.study.tell(trial, state=TrialState.FAIL)
        return create_trial(
            state=TrialState.RUNNING,
            params=trial.params,
            distributions=self._distributions,
            user_attrs={INDEX: index},
        )


def distribution(dimension: SearchRange) -> BaseDistribution:
    """Return what the sampler draws the values of a setting from."""
    if dimension.choices is not None:
        return CategoricalDistribution(dimension.choices)
    low, high = bounds(dimension)
    if dimension.kind == "int":
        return IntDistribution(int(low), int(high))
    return FloatDistribution(low, high, log=dimension.kind == "log")


def _known_values(plan: StudyPlan, index: int) -> Values:
    """Return the settings that the space fixes for a trial. Random search is the baseline, which knows nothing."""
    if plan.optimize.sampler == "random":
        return {}
    return {each.setting: each.start[index] for each in plan.space if index < len(each.start)}


def _make_sampler(optimize: Optimize, index: int) -> BaseSampler:
    seed = (optimize.seed * 1_000_003 + index) % 2**32
    if optimize.sampler == "tpe":
        return TPESampler(n_startup_trials=optimize.startup_trials, multivariate=True, seed=seed)
    if optimize.sampler == "gp":
        return GPSampler(n_startup_trials=optimize.startup_trials, deterministic_objective=True, seed=seed)
    return RandomSampler(seed=seed)
