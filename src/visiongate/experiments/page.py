"""The page of the experiments."""

from collections.abc import Sequence
from dataclasses import dataclass

from visiongate.experiments.figures import draw_metric, draw_settings, varied_settings
from visiongate.experiments.listing import Experiment
from visiongate.experiments.ranking import GATE_WORDS, Ranking, format_setting
from visiongate.experiments.significance import SignificanceTest
from visiongate.pages.rendering import render_page


@dataclass(frozen=True, slots=True)
class ExperimentReport:
    """The finished experiments, the test of the best one, and the experiments that are queued, running or failed."""

    ranking: Ranking
    significance: SignificanceTest
    unfinished: Sequence[Experiment] = ()

    @property
    def advised(self) -> bool:
        """Whether to keep the best experiment: it is shown to be better, and its gate did not fail."""
        best = self.ranking.best
        return self.significance.better and best is not None and best.passed is not False


def render_experiments(report: ExperimentReport) -> str:
    """Return the page as HTML."""
    ranking = report.ranking
    settings = varied_settings(ranking) if ranking.best is not None else []
    return render_page(
        "experiments/page.html",
        report=report,
        ranking=ranking,
        rows=[*ranking.experiments, ranking.baseline],
        settings=settings,
        describe=lambda name: name.rpartition(".")[2].replace("_", " "),
        hidden=len(ranking.varied) - len(settings),
        format_setting=format_setting,
        gate_words=GATE_WORDS,
        metric_plot=draw_metric(ranking) if ranking.best is not None else None,
        slice_plot=draw_settings(ranking, "slice") if settings else None,
        parallel_plot=draw_settings(ranking, "parallel_coordinate") if len(settings) > 1 else None,
    )
