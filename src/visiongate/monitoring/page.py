"""The report on the performance as a page that opens from disk and loads nothing."""

from visiongate.monitoring.figures import (
    HEIGHT,
    WIDTH,
    draw_calibration,
    draw_confidences,
    draw_volume,
)
from visiongate.monitoring.report import PerformanceReport
from visiongate.monitoring.scores import ClassScores, Scores
from visiongate.monitoring.standing import Standing
from visiongate.monitoring.titles import title_of
from visiongate.pages.rendering import render_template

NAMES = {"sampled": "random sample", "volunteered": "volunteered", "feedback": "all feedback"}


def render_report(report: PerformanceReport, standing: Standing) -> str:
    """Return the page.

    Args:
        report: The performance.
        standing: The latest drift check, and what was decided.
    """
    kinds = dict.fromkeys(each.kind for each in standing.decisions)
    return render_template(
        "monitoring/page.html",
        report=report,
        standing=standing,
        latest_decisions=[next(each for each in standing.decisions if each.kind == kind) for kind in kinds],
        volume=draw_volume(report),
        names=NAMES,
        width=WIDTH,
        height=HEIGHT,
        draw_calibration=draw_calibration,
        draw_confidences=draw_confidences,
        scores_by_class=_index_classes,
        title_of=title_of,
    )


def _index_classes(scores: Scores) -> dict[str, ClassScores]:
    return {each.name: each for each in scores.classes}
