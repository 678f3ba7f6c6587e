"""The page of a search."""

from functools import partial

from visiongate.optimization.figures import draw_curves, draw_study, rebuild_study
from visiongate.optimization.report import (
    explain_guess,
    explain_importances,
    shorten_value,
    summarize_search,
    tabulate_trials,
    to_metric,
)
from visiongate.optimization.study import SearchResult
from visiongate.pages.rendering import render_page
from visiongate.records.search import StudyRecord
from visiongate.settings.schema import Settings


def render_search(result: SearchResult, record: StudyRecord, settings: Settings, judged: str) -> str:
    """Return the page as HTML.

    Args:
        result: The trials.
        record: The settings that the result depends on, and whether it is better than guessing.
        settings: The section ``optimize``.
        judged: The images that judge a trial, in words.
    """
    optimize = settings.optimize
    space = list(optimize.space.values())
    study = rebuild_study(result.trials, space, optimize.metric)
    return render_page(
        "optimization/page.html",
        model=settings.model.name,
        optimize=optimize,
        result=result,
        judged=judged,
        warning="" if record.guessed is None else explain_guess(optimize.metric, record.guessed),
        summary=summarize_search(optimize.metric, result),
        rows=list(tabulate_trials(optimize.metric, result)),
        space=space,
        importances=explain_importances(result),
        curves=draw_curves(result.trials, optimize.metric, result.best.trial)
        if optimize.epochs > 1
        else None,
        has_folds=len(result.best.curve) > optimize.epochs,
        complete=sum(trial.value is not None for trial in result.trials),
        draw=partial(draw_study, study, optimize.metric, marked=result.best.trial),
        to_metric=partial(to_metric, optimize.metric),
        shorten=shorten_value,
    )
