"""Train the best and the current settings with seeds that the search did not use, pair by pair, until the test is decided.

The best of twenty trials is also the luckiest of twenty, so that its score in the search says little.
"""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

from visiongate.adapters.mlflow.runs import open_run
from visiongate.optimization.plan import StudyPlan
from visiongate.optimization.rounds import StudyRunner
from visiongate.optimization.storage import JOURNALS, StudyStorage
from visiongate.optimization.trainer import SEED, Trainer
from visiongate.optimization.trials import read_trials
from visiongate.optimization.workers import open_runner
from visiongate.recommendation.comparison import SeedScores, pair_scores
from visiongate.recommendation.confirmation import is_decided
from visiongate.records.search import Values
from visiongate.settings.schema import Settings


def train_fresh_seeds(
    settings: Settings, directory: Path, study: str, best: Values, current: Values
) -> tuple[SeedScores, SeedScores]:
    """Train both settings with the same seeds, as MLflow runs, and return the scores of the best and of the current ones.

    Args:
        settings: The settings that the best and the current ones replace.
        directory: The folder of the pixel arrays.
        study: The fingerprint of everything else that a score depends on. An interrupted comparison resumes.
        best: The best settings of the search by dotted name.
        current: The current values of the same settings.

    Raises:
        StudyError: The storage is unavailable.
        EngineError: The engine failed.
    """
    storage = StudyStorage(JOURNALS / f"{study}-{_digest(best, current)}.journal", settings.optimize.storage)
    params = {"optimize": settings.optimize.model_dump()}
    with (
        open_runner(settings, storage) as runner,
        open_run(settings.tracking, f"recommend {settings.model.name}", params, {}) as parent,
    ):
        trained = _train_pairs(Trainer(settings, directory, "", parent.id), study, best, current, runner)
        storage.discard()
    return trained


def _train_pairs(
    trainer: Trainer, study: str, best: Values, current: Values, runner: StudyRunner
) -> tuple[SeedScores, SeedScores]:
    optimize = trainer.settings.optimize
    seeds, step = optimize.confirm_seeds, optimize.trials_per_round

    def train(title: str, values: Values, count: int) -> SeedScores:
        return _train_seeds(
            replace(trainer, title=title), f"{study}-{_digest(values)}", values, count, runner
        )

    ours, theirs = SeedScores([]), SeedScores([])
    for count in range(step, seeds + step, step):
        ours = train("best", best, min(count, seeds))
        if ours.failure:
            break
        theirs = train("current", current, min(count, seeds))
        if theirs.failure:
            # The best settings win only if all their trainings succeed.
            ours = train("best", best, seeds)
            break
        if is_decided([one - other for one, other in pair_scores(ours, theirs)], seeds):
            break
    return ours, theirs


def _train_seeds(trainer: Trainer, name: str, values: Values, count: int, runner: StudyRunner) -> SeedScores:
    """Train with the first fresh seeds; those that are in the storage already are not trained again."""
    optimize = trainer.settings.optimize
    fixed: dict[int, Values] = {index: {**values, SEED: optimize.seed + 1 + index} for index in range(count)}
    plan = StudyPlan(name, count, optimize, fixed=fixed, title=trainer.title)
    trials = read_trials(runner.run(plan, trainer))
    failure = next((trial.failure.message for trial in trials if trial.failure is not None), "")
    return SeedScores([trial.value for trial in trials], failure)


def _digest(*values: Values) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
