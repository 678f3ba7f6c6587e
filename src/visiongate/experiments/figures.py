"""Plots of experiments: metrics with confidence intervals, and Optuna's plots by setting."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from visiongate.experiments.ranking import ABSENT, RankedExperiment, Ranking, format_setting
from visiongate.pages.canvas import BLUE, GREEN, VERMILION, render
from visiongate.records.metrics import lower_is_better
from visiongate.settings.optimize import SearchRange

if TYPE_CHECKING:
    from visiongate.optimization.figures import Plot

MAX_EXPERIMENTS = 30
MAX_SETTINGS = 6
MAX_NAME = 24
# The ratio of the largest to the smallest value from which an axis is logarithmic.
LOG_RATIO = 20.0
INCHES_PER_EXPERIMENT = 0.26


def draw_metric(ranking: Ranking) -> bytes:
    """Draw the metric and its confidence interval of each experiment, the best on top and the baseline at the bottom."""
    shown = [*_with_metric(ranking.experiments)[:MAX_EXPERIMENTS], *_with_metric([ranking.baseline])]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for position, ranked in enumerate(reversed(shown)):
            _draw_interval(axes, position, ranked, _color(ranking, ranked))
        axes.set_yticks(range(len(shown)), [_shorten(each.experiment.name) for each in reversed(shown)])
        axes.set_ylim(-0.7, len(shown) - 0.3)
        axes.set_xlabel(ranking.metric)
        axes.grid(visible=False, axis="y")

    return render(0.8 + INCHES_PER_EXPERIMENT * len(shown), draw)


def draw_settings(ranking: Ranking, plot: "Plot") -> bytes:
    """Draw the metric by the settings that were varied, with one of Optuna's plots."""
    # Optuna takes a second to import, and commands that draw nothing import this module.
    from visiongate.optimization.figures import draw_study, rebuild_study  # noqa: PLC0415
    from visiongate.optimization.trials import TrialResult  # noqa: PLC0415

    shown = _with_metric([ranking.baseline, *ranking.experiments])
    space = [_search_range(shown, name) for name in varied_settings(ranking)]
    sign = -1 if lower_is_better(ranking.metric) else 1
    trials = [
        TrialResult(index, "complete", sign * (each.value or 0.0), [], _trial_values(each, space))
        for index, each in enumerate(shown)
    ]
    marked = next((index for index, each in enumerate(shown) if each is ranking.marked), None)
    return draw_study(rebuild_study(trials, space, ranking.metric), ranking.metric, plot, marked)


def varied_settings(ranking: Ranking) -> list[str]:
    """Return the settings to show, at most `MAX_SETTINGS`: one of those that always change together, most values first."""
    ranked = (*ranking.experiments, ranking.baseline)
    kept: dict[tuple[int, ...], str] = {}
    for name in sorted(ranking.varied, key=lambda name: (not name.endswith(".name"), name)):
        values = [format_setting(_value(each, name)) for each in ranked]
        kept.setdefault(tuple(values.index(value) for value in values), name)
    return [name for _, name in sorted(kept.items(), key=lambda item: -len(set(item[0])))][:MAX_SETTINGS]


def _draw_interval(axes: Axes, position: int, ranked: RankedExperiment, color: str) -> None:
    if ranked.interval is not None:
        bounds = [ranked.interval.low, ranked.interval.high]
        axes.plot(bounds, [position, position], color=color, linewidth=1.5, alpha=0.6)
    axes.plot([ranked.value or 0.0], [position], "o", color=color, markersize=5)


def _color(ranking: Ranking, ranked: RankedExperiment) -> str:
    if ranked is ranking.baseline:
        return VERMILION
    return GREEN if ranked is ranking.marked else BLUE


def _with_metric(ranked: Sequence[RankedExperiment]) -> list[RankedExperiment]:
    return [each for each in ranked if each.value is not None]


def _value(ranked: RankedExperiment, name: str) -> Any:  # noqa: ANN401 - a setting's value
    return ranked.experiment.params.get(name, ABSENT)


def _search_range(ranked: Sequence[RankedExperiment], name: str) -> SearchRange:
    values = [_value(each, name) for each in ranked]
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        low, high = float(min(values)), float(max(values))
        if low < high:
            kind: Literal["log", "float"] = "log" if low > 0 and high / low >= LOG_RATIO else "float"
            return SearchRange(setting=name, kind=kind, low=low, high=high)
    texts = sorted({format_setting(value) for value in values})
    return SearchRange(setting=name, kind="choice", choices=[*texts])


def _trial_values(ranked: RankedExperiment, space: Sequence[SearchRange]) -> dict[str, Any]:
    return {
        each.setting: format_setting(_value(ranked, each.setting))
        if each.kind == "choice"
        else float(_value(ranked, each.setting))
        for each in space
    }


def _shorten(text: str) -> str:
    half = MAX_NAME // 2
    return text if len(text) <= MAX_NAME else f"{text[: half - 1]}…{text[-half:]}"
