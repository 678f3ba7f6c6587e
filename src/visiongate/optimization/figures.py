"""The figures of a search, most of them Optuna's, as PNG files whose bytes depend on the trials only."""

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, cast

import numpy as np
import optuna
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, MaxNLocator, NullFormatter
from optuna import Study
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState
from optuna.visualization import matplotlib as plots

from visiongate.optimization.proposals import distribution
from visiongate.optimization.report import to_metric
from visiongate.optimization.trials import TrialResult
from visiongate.pages.canvas import FAINT, GREEN, GRID, render, render_pyplot
from visiongate.records.metrics import lower_is_better
from visiongate.settings.optimize import SearchRange

Plot = Literal["optimization_history", "slice", "parallel_coordinate"]
HEIGHT = 3.6
CURVES_HEIGHT = 2.6
MIN_WIDTH, WIDTH_PER_SETTING = 7.0, 2.2


def draw_curves(trials: Sequence[TrialResult], metric: str, best: int) -> bytes:
    """Draw the metric of each trial after each epoch, one fold after the other, with a dot where the trial ended.

    Args:
        trials: At least one of them finished an epoch.
        metric: The name of the metric.
        best: The trial that is green and above the others.
    """

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for trial in (trial for trial in trials if trial.curve):
            values = [to_metric(metric, score) for score in trial.curve]
            color, order = (GREEN, 4) if trial.trial == best else (FAINT, 3)
            axes.plot(range(1, len(values) + 1), values, color=color, zorder=order)
            axes.plot(len(values), values[-1:], "o", color=color, markersize=4, zorder=order)
        axes.set_xlabel("epochs")
        if lower_is_better(metric):
            # The loss of a training that diverges is larger by orders of magnitude.
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(LogFormatter())
            axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 1)))
        axes.set_ylabel(metric)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))

    return render(CURVES_HEIGHT, draw)


def rebuild_study(trials: Sequence[TrialResult], space: Sequence[SearchRange], metric: str) -> Study:
    """Return a study in memory with the finished trials, numbered by index, without those that were interrupted.

    Args:
        trials: The trials by index.
        space: The searched settings.
        metric: The metric, whose sign the study's values have.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    lower = lower_is_better(metric)
    study = optuna.create_study(direction="minimize" if lower else "maximize")
    distributions = {dimension.setting: distribution(dimension) for dimension in space}
    for trial in trials:
        study.add_trial(
            optuna.trial.create_trial(
                state=TrialState.COMPLETE if trial.value is not None else TrialState.PRUNED,
                value=-trial.value if lower and trial.value is not None else trial.value,
                params=trial.values,
                distributions=distributions,
            )
        )
    return study


def draw_study(study: Study, metric: str, plot: Plot, marked: int | None = None) -> bytes:
    """Draw one of Optuna's plots of a study with at least one complete trial.

    Args:
        study: As `rebuild_study` returns it.
        metric: The name of its values.
        plot: ``optimization_history`` shows the metric of each trial, ``slice`` the metric by each setting,
            ``parallel_coordinate`` a line for each trial through its settings and its metric.
        marked: The trial that ``slice`` marks with a green star.
    """
    return render_pyplot(partial(_plot, study, metric, plot, marked))


def _plot(study: Study, metric: str, plot: Plot, marked: int | None) -> Figure:
    with warnings.catch_warnings():
        # The plots are marked as experimental.
        warnings.simplefilter("ignore")
        draw = cast("Callable[..., Any]", getattr(plots, f"plot_{plot}"))
        axes = np.ravel(draw(study, target_name=metric))
    figure: Figure = axes[0].figure
    figure.set_size_inches(max(MIN_WIDTH, WIDTH_PER_SETTING * len(study.trials[0].params)), HEIGHT)
    figure.suptitle("")
    if plot == "slice" and marked is not None:
        _mark(list(axes), study.trials[marked])
    for each in figure.axes:
        _restyle(each)
        each.yaxis.grid(visible=plot != "parallel_coordinate")
    if plot == "optimization_history":
        axes[0].xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def _mark(axes: Sequence[Axes], trial: FrozenTrial) -> None:
    """Mark a trial on the axes of each setting."""
    for each in axes:
        value = trial.params[each.get_xlabel()]
        categorical = isinstance(trial.distributions[each.get_xlabel()], CategoricalDistribution)
        each.plot(
            [str(value) if categorical else value],
            [trial.value or 0.0],
            "*",
            color=GREEN,
            markersize=13,
            zorder=9,
        )


def _restyle(axes: Axes) -> None:
    """Replace the style that Optuna sets: gray ground, large titles and a label at each minor tick."""
    axes.set_facecolor("white")
    axes.set_title("")
    axes.tick_params(labelsize=8, grid_color=GRID)
    axes.xaxis.grid(visible=False)
    axes.xaxis.label.set_fontsize(8)
    axes.yaxis.label.set_fontsize(9)
    for axis, scale in ((axes.xaxis, axes.get_xscale()), (axes.yaxis, axes.get_yscale())):
        axis.set_minor_formatter(NullFormatter())
        if scale == "log":
            axis.set_major_formatter("{x:g}")
