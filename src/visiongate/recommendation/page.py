"""The page of the recommendation."""

from functools import partial

from visiongate.optimization.report import shorten_value, to_metric
from visiongate.pages.rendering import render_page
from visiongate.recommendation.comparison import Recommendation, format_conclusion
from visiongate.settings.schema import Settings


def render_recommendation(recommendation: Recommendation, settings: Settings) -> str:
    """Return the page as HTML."""
    return render_page(
        "recommendation/page.html",
        model=settings.model.name,
        recommendation=recommendation,
        conclusion=format_conclusion(recommendation),
        space=list(settings.optimize.space.values()),
        to_metric=partial(to_metric, recommendation.metric),
        shorten=shorten_value,
    )
