"""Train the best and the current settings with fresh seeds, pair by pair, until the comparison is decided."""

from dataclasses import replace
from pathlib import Path

from visiongate.adapters.mlflow.runs import open_run
from visiongate.optimization.confirmation import is_decided
from visiongate.optimization.fingerprint import digest
from visiongate.optimization.fresh_seeds import NO_SCORES, Comparison, PairedScores, SeedScores
from visiongate.optimization.plan import StudyPlan
from visiongate.optimization.rounds import StudyRunner
from visiongate.optimization.storage import JOURNALS, StudyStorage
from visiongate.optimization.trainer import SEED, Trainer
from visiongate.optimization.trials import read_trials
from visiongate.optimization.workers import open_runner
from visiongate.records.search import Values
from visiongate.settings.schema import Settings


def compare(settings: Settings, directory: Path, comparison: Comparison) -> PairedScores:
    """Train both settings of a comparison, as MLflow runs, and return their scores, which are kept unless a training fails.

    Args:
        settings: The settings that the best and the current ones replace.
        directory: The folder of the pixel arrays.
        comparison: What to compare; its scores are not known yet. An interrupted training resumes.

    Raises:
        StudyError: The storage is unavailable.
        EngineError: The engine failed.
    """
    storage = StudyStorage(JOURNALS / f"{comparison.name}.journal", settings.optimize.storage)
    params = {"optimize": settings.optimize.model_dump()}
    with (
        open_runner(settings, storage) as runner,
        open_run(settings.tracking, f"recommend {settings.model.name}", params, {}) as parent,
    ):
        scores = _train_pairs(Trainer(settings, directory, "", parent.id), comparison, runner)
        # A failure, such as of memory, may not happen again.
        if not (scores.best.failure or scores.current.failure):
            comparison.write_scores(scores)
        storage.discard()
    return scores


def _train_pairs(trainer: Trainer, comparison: Comparison, runner: StudyRunner) -> PairedScores:
    seeds, step = comparison.seeds, trainer.settings.optimize.trials_per_round

    def train(title: str, values: Values, count: int) -> SeedScores:
        name = f"{comparison.study}-{digest(values)}"
        return _train_seeds(replace(trainer, title=title), name, values, min(count, seeds), runner)

    scores = NO_SCORES
    for count in range(step, seeds + step, step):
        scores = replace(scores, best=train("best", comparison.best, count))
        if scores.best.failure:
            break
        scores = replace(scores, current=train("current", comparison.current, count))
        if scores.current.failure:
            # The best settings win only if all their trainings succeed.
            scores = replace(scores, best=train("best", comparison.best, seeds))
            break
        if is_decided([best - current for best, current in scores.pairs], seeds):
            break
    return scores


def _train_seeds(trainer: Trainer, name: str, values: Values, count: int, runner: StudyRunner) -> SeedScores:
    """Train with the first fresh seeds; those that are in the storage already are not trained again."""
    optimize = trainer.settings.optimize
    fixed: dict[int, Values] = {index: {**values, SEED: optimize.seed + 1 + index} for index in range(count)}
    plan = StudyPlan(name, count, optimize, fixed=fixed, title=trainer.title)
    trials = read_trials(runner.run(plan, trainer))
    failure = next((trial.failure.message for trial in trials if trial.failure is not None), "")
    return SeedScores([trial.value for trial in trials], failure)
