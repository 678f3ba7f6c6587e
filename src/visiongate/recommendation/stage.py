"""The stage ``recommend``: compare the best settings of the search with the current ones. It changes no setting."""

import hashlib
import json

from visiongate import paths
from visiongate.adapters.mlflow.runs import open_run
from visiongate.images.integrity import check_arrays
from visiongate.optimization.budget import count_images, fit_to_images
from visiongate.optimization.fingerprint import check_study, study_fingerprint
from visiongate.optimization.storage import JOURNALS, StudyStorage
from visiongate.optimization.trainer import Trainer
from visiongate.optimization.workers import open_runner
from visiongate.recommendation.comparison import (
    Recommendation,
    format_conclusion,
    format_recommendation,
    summarize_recommendation,
    train_current,
)
from visiongate.recommendation.page import render_recommendation
from visiongate.records.files import write_text
from visiongate.records.search import (
    FreshSeeds,
    RecommendationRecord,
    Values,
    read_best,
    read_study,
    read_study_settings,
    read_values,
    write_comparison,
    write_recommendation,
)
from visiongate.settings.schema import Settings


def run(settings: Settings) -> None:
    """Train the current settings with the fresh seeds of the best ones, and write the recommendation."""
    check_arrays(paths.TRANSFORMED)
    study, current = read_study_settings(paths.STUDY), read_values(paths.CURRENT)
    check_study(settings, study)
    settings = fit_to_images(settings, count_images(paths.TRANSFORMED))
    best, record, optimize = read_best(paths.OPTIMIZE), read_study(paths.OPTIMIZE), settings.optimize
    seeds = record.fresh_seeds
    trained = FreshSeeds([], [])
    if best != current and seeds.seeds and not seeds.failure:
        trained = _train(settings, current, seeds, study_fingerprint(study, paths.TRANSFORMED))
    recommendation = Recommendation(
        optimize.metric, optimize.epochs, best, current, seeds, trained, record.guessed
    )
    _write(recommendation, settings)
    print(format_recommendation(recommendation))


def _train(settings: Settings, current: Values, best: FreshSeeds, study: str) -> FreshSeeds:
    values = hashlib.sha256(json.dumps([current, best.scores]).encode()).hexdigest()[:16]
    name = f"{study}-{values}"
    storage = StudyStorage(JOURNALS / f"{name}.journal", settings.optimize.storage)
    params = {"optimize": settings.optimize.model_dump()}
    with (
        open_runner(settings, storage) as runner,
        open_run(settings.tracking, f"recommend {settings.model.name}", params, {}) as parent,
    ):
        trainer = Trainer(settings, paths.TRANSFORMED, "current", parent.id)
        trained = train_current(trainer, name, current, best, runner)
        storage.discard()
    return trained


def _write(recommendation: Recommendation, settings: Settings) -> None:
    record = RecommendationRecord(
        recommendation.current, recommendation.adoptable, format_conclusion(recommendation)
    )
    write_comparison(paths.RECOMMENDATION, record)
    write_recommendation(paths.RECOMMENDATION_SUMMARY, summarize_recommendation(recommendation))
    write_text(paths.RECOMMENDATION / "index.html", render_recommendation(recommendation, settings))
