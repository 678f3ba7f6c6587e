"""Train settings with seeds that the search did not use: the best of twenty trials is also the luckiest of twenty."""

from visiongate.optimization.storage import StudyStorage
from visiongate.optimization.study import StudyPlan, read_trials
from visiongate.optimization.trainer import SEED, Trainer
from visiongate.optimization.workers import run_study
from visiongate.records.search import FreshSeeds, Values


def train_fresh_seeds(
    trainer: Trainer, name: str, values: Values, storage: StudyStorage, count: int | None = None
) -> FreshSeeds:
    """Train with the first fresh seeds, or with all of them; those that are in the storage already are not trained again.

    Args:
        trainer: Trains with the values.
        name: The name in the storage, which must change with everything that a score depends on.
        values: Settings by dotted name.
        storage: A journal must be locked.
        count: The number of seeds; None trains with all.

    Raises:
        StudyError: As `run_study`.
    """
    optimize = trainer.settings.optimize
    seeds = list(range(optimize.seed + 1, optimize.seed + 1 + optimize.confirm_seeds))[:count]
    if not seeds:
        return FreshSeeds([], [])
    fixed: dict[int, Values] = {index: {**values, SEED: seed} for index, seed in enumerate(seeds)}
    plan = StudyPlan(name, len(seeds), optimize, fixed=fixed, title=trainer.title)
    trials = read_trials(run_study(plan, storage, trainer, optimize.workers))
    failure = next((trial.failure.message for trial in trials if trial.failure is not None), "")
    return FreshSeeds(seeds, [trial.value for trial in trials], failure)
