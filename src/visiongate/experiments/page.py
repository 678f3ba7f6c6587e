"""The page on all that was tried."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from visiongate.experiments.figures import (
    draw_by_setting,
    draw_curves,
    draw_parallel,
    draw_values,
    varied_settings,
)
from visiongate.experiments.listing import Experiment
from visiongate.experiments.ranking import WORDS, Ranking, show
from visiongate.experiments.significance import Contest
from visiongate.pages.rendering import render_page


@dataclass(frozen=True, slots=True)
class Trials:
    """What the page tells of."""

    ranking: Ranking
    contest: Contest
    column: str | None  # of the training's history
    curves: Mapping[str, Sequence[float]]  # the base's and those of the best, by name
    unfinished: Sequence[Experiment] = ()
    words: Mapping[str, Sequence[str]] = field(
        default_factory=dict
    )  # last lines of those that failed, by name


def render_experiments(trials: Trials) -> str:
    """Write the page.

    Returns:
        HTML that needs nothing else.
    """
    ranking = trials.ranking
    known = ranking.best is not None
    return render_page(
        "experiments/page.html",
        trials=trials,
        ranking=ranking,
        rows=[*ranking.rows, ranking.base],
        settings=varied_settings(ranking),
        hidden=len(ranking.varied) - len(varied_settings(ranking)),
        show=show,
        words=WORDS,
        values=draw_values(ranking) if known else None,
        by_setting=draw_by_setting(ranking) if known else {},
        parallel=draw_parallel(ranking)
        if known and len(ranking.varied) > 1 and len(ranking.rows) > 1
        else None,
        curves=draw_curves(trials.curves, trials.column) if trials.column and trials.curves else None,
    )
