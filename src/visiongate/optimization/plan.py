"""The plan of a study: its trials, and the rounds in which they run."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from visiongate.optimization.pruning import ONE_FOLD, Race
from visiongate.optimization.space import search_space
from visiongate.records.search import Values
from visiongate.settings.model import Model
from visiongate.settings.optimize import Optimize, SearchRange
from visiongate.settings.schema import Settings


@dataclass(frozen=True, slots=True)
class StudyPlan:
    """The trials of a study.

    Attributes:
        name: The study's name, which must change with everything that a trial's value depends on.
        trials: The number of trials.
        optimize: Sampler, pruner, epochs and the size of a round.
        space: The settings that the sampler chooses.
        fixed: The values of each trial by its index, if there is no space.
        title: What the progress calls the study.
        race: When trials may be pruned.
    """

    name: str
    trials: int
    optimize: Optimize
    space: list[SearchRange] = field(default_factory=list)
    fixed: dict[int, Values] = field(default_factory=dict)
    title: str = "search"
    race: Race = ONE_FOLD

    def rounds(self) -> Iterator[range]:
        """Yield the indices of the trials of each round: all trials if none depends on another."""
        size = self.optimize.trials_per_round if self.space else self.trials
        for first in range(0, self.trials, size):
            yield range(first, min(first + size, self.trials))

    def is_searched(self, index: int) -> bool:
        """Return whether the sampler chose a trial, which may be pruned then."""
        return bool(self.space) and index < self.trials


def plan_search(settings: Settings, name: str, race: Race = ONE_FOLD) -> StudyPlan:
    """Plan the study of ``settings.optimize``. The sampler chooses the values of each trial.

    Args:
        settings: The settings.
        name: The study's name.
        race: When trials may be pruned.

    Raises:
        SettingsError: The space has a setting that cannot be searched.
    """
    optimize = settings.optimize
    if not isinstance(settings.model, Model):
        # A baseline or a probe is fitted in one step, after which nothing is left to prune.
        optimize = optimize.model_copy(update={"pruner": "none"})
    return StudyPlan(name, optimize.trials, optimize, search_space(settings), race=race)
