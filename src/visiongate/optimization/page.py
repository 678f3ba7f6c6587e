"""The page of a search."""

from collections.abc import Sequence
from functools import partial

from visiongate.optimization.figures import draw_study, rebuild_study
from visiongate.optimization.report import (
    SearchReport,
    format_conclusion,
    summarize_search,
    tabulate_trials,
    to_metric,
)
from visiongate.pages.rendering import render_page
from visiongate.settings.optimize import SearchRange
from visiongate.settings.schema import Settings


def render_search(report: SearchReport, space: Sequence[SearchRange], settings: Settings) -> str:
    """Return the page as HTML."""
    study = rebuild_study(report.result.trials, space, report.metric)
    return render_page(
        "optimization/page.html",
        model=settings.model.name,
        optimize=settings.optimize,
        report=report,
        conclusion=format_conclusion(report),
        summary=summarize_search(report),
        rows=list(tabulate_trials(report)),
        space=space,
        draw=partial(draw_study, study, report.metric),
        to_metric=partial(to_metric, report.metric),
        shorten=_shorten,
    )


def _shorten(value: object) -> str:
    """Return a setting's value with at most four digits."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return "null" if value is None else str(value)
