"""Train settings with seeds that the search did not use: the best of twenty trials is also the luckiest of twenty."""

from visiongate.optimization.plan import StudyPlan
from visiongate.optimization.rounds import StudyRunner
from visiongate.optimization.trainer import SEED, Trainer
from visiongate.optimization.trials import read_trials
from visiongate.records.search import FreshSeeds, Values


def train_fresh_seeds(
    trainer: Trainer, name: str, values: Values, runner: StudyRunner, count: int | None = None
) -> FreshSeeds:
    """Train with the first fresh seeds, or with all of them; those that are in the storage already are not trained again.

    Args:
        trainer: Trains with the values.
        name: The name in the storage, which must change with everything that a score depends on.
        values: Settings by dotted name.
        runner: Runs the trainings.
        count: The number of seeds; None trains with all.

    Raises:
        StudyError: As `StudyRunner.run`.
    """
    optimize = trainer.settings.optimize
    seeds = list(range(optimize.seed + 1, optimize.seed + 1 + optimize.confirm_seeds))[:count]
    if not seeds:
        return FreshSeeds([], [])
    fixed: dict[int, Values] = {index: {**values, SEED: seed} for index, seed in enumerate(seeds)}
    plan = StudyPlan(name, len(seeds), optimize, fixed=fixed, title=trainer.title)
    trials = read_trials(runner.run(plan, trainer))
    failure = next((trial.failure.message for trial in trials if trial.failure is not None), "")
    return FreshSeeds(seeds, [trial.value for trial in trials], failure)
