"""The stage ``recommend``: compare the best settings of the search with the current ones. It changes no setting."""

from visiongate import paths
from visiongate.images.integrity import check_arrays
from visiongate.optimization.budget import count_images, fit_to_images
from visiongate.optimization.fingerprint import check_study, study_fingerprint
from visiongate.optimization.fresh_seeds import Comparison
from visiongate.recommendation.comparison import (
    Recommendation,
    format_conclusion,
    format_recommendation,
    summarize_recommendation,
)
from visiongate.recommendation.page import render_recommendation
from visiongate.records.files import write_text
from visiongate.records.search import (
    RecommendationRecord,
    read_best,
    read_study,
    read_study_settings,
    read_values,
    write_comparison,
    write_recommendation,
)
from visiongate.settings.schema import Settings


def run(settings: Settings) -> None:
    """Train the best and the current settings with fresh seeds, unless `optimize` has, and write the recommendation."""
    check_arrays(paths.TRANSFORMED)
    study, current = read_study_settings(paths.STUDY), read_values(paths.CURRENT)
    check_study(settings, study)
    settings = fit_to_images(settings, count_images(paths.TRANSFORMED))
    best, guessed, optimize = read_best(paths.OPTIMIZE), read_study(paths.OPTIMIZE).guessed, settings.optimize
    # If no trial is better than guessing, there is nothing to compare.
    seeds = optimize.confirm_seeds if guessed is None else 0
    comparison = Comparison(study_fingerprint(study, paths.TRANSFORMED), best, current, seeds)
    scores = comparison.read_scores()
    if scores is None:
        # Torch and MLflow are slow to import, and `optimize` has trained most comparisons.
        from visiongate.optimization.paired_training import compare  # noqa: PLC0415

        scores = compare(settings, paths.TRANSFORMED, comparison)
    recommendation = Recommendation(optimize.metric, optimize.epochs, best, current, seeds, scores, guessed)
    _write(recommendation, settings)
    print(format_recommendation(recommendation))


def _write(recommendation: Recommendation, settings: Settings) -> None:
    record = RecommendationRecord(
        recommendation.current, recommendation.adoptable, format_conclusion(recommendation)
    )
    write_comparison(paths.RECOMMENDATION, record)
    write_recommendation(paths.RECOMMENDATION_SUMMARY, summarize_recommendation(recommendation))
    write_text(paths.RECOMMENDATION / "index.html", render_recommendation(recommendation, settings))
