"""The stage ``recommend``: compare the best settings of the search with the current ones. It changes no setting."""

from visiongate import paths
from visiongate.images.integrity import check_arrays
from visiongate.optimization.budget import count_images, fit_to_images
from visiongate.optimization.fingerprint import check_study, study_fingerprint
from visiongate.recommendation.comparison import (
    Recommendation,
    SeedScores,
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
    """Train the best and the current settings with fresh seeds, and write the recommendation."""
    check_arrays(paths.TRANSFORMED)
    study, current = read_study_settings(paths.STUDY), read_values(paths.CURRENT)
    check_study(settings, study)
    settings = fit_to_images(settings, count_images(paths.TRANSFORMED))
    best, guessed, optimize = read_best(paths.OPTIMIZE), read_study(paths.OPTIMIZE).guessed, settings.optimize
    scores = SeedScores([]), SeedScores([])
    if best != current and guessed is None and optimize.confirm_seeds:
        # Torch is slow to import, and often nothing is trained.
        from visiongate.recommendation.fresh_seeds import train_fresh_seeds  # noqa: PLC0415

        fingerprint = study_fingerprint(study, paths.TRANSFORMED)
        scores = train_fresh_seeds(settings, paths.TRANSFORMED, fingerprint, best, current)
    recommendation = Recommendation(
        optimize.metric, optimize.epochs, best, current, optimize.confirm_seeds, *scores, guessed
    )
    _write(recommendation, settings)
    print(format_recommendation(recommendation))


def _write(recommendation: Recommendation, settings: Settings) -> None:
    record = RecommendationRecord(
        recommendation.current, recommendation.adoptable, format_conclusion(recommendation)
    )
    write_comparison(paths.RECOMMENDATION, record)
    write_recommendation(paths.RECOMMENDATION_SUMMARY, summarize_recommendation(recommendation))
    write_text(paths.RECOMMENDATION / "index.html", render_recommendation(recommendation, settings))
