"""Optuna's plots of a search, as PNG files whose bytes depend on the trials only."""

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from visiongate.optimization.study import TrialResult
from visiongate.pages.canvas import GRID, render_pyplot
from visiongate.records.metrics import lower_is_better
from visiongate.settings.optimize import SearchRange

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution

Plot = Literal["optimization_history", "slice", "parallel_coordinate"]
HEIGHT = 3.6
MIN_WIDTH, WIDTH_PER_SETTING = 7.0, 2.0


def rebuild_study(trials: Sequence[TrialResult], space: Sequence[SearchRange]) -> "Study":
    """Return a study in memory with the finished trials, numbered by index, without those that were interrupted.

    Args:
        trials: The trials by index; a higher value is better.
        space: The searched settings.
    """
    import optuna  # noqa: PLC0415 - imported for the search only

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize")
    distributions = {dimension.setting: _distribution(dimension) for dimension in space}
    for trial in trials:
        study.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState[trial.state.upper()],
                value=trial.value,
                params=trial.values,
                distributions=distributions,
            )
        )
    return study


def draw_study(study: "Study", metric: str, plot: Plot) -> bytes:
    """Draw one of Optuna's plots.

    Args:
        study: At least one trial is complete. Its values are scores: metrics, negated if a lower metric is better.
        metric: The metric that the plot shows.
        plot: ``optimization_history`` shows the metric of each trial, ``slice`` the metric by each setting,
            ``parallel_coordinate`` a line for each trial through its settings and its metric.
    """
    return render_pyplot(partial(_plot, study, metric, plot))


def _plot(study: "Study", metric: str, plot: Plot) -> Figure:
    from optuna.visualization import matplotlib as plots  # noqa: PLC0415 - imported for the search only

    sign = -1 if lower_is_better(metric) else 1
    with warnings.catch_warnings():
        # The plots are marked as experimental.
        warnings.simplefilter("ignore")
        draw = cast("Callable[..., Any]", getattr(plots, f"plot_{plot}"))
        axes = np.ravel(draw(study, target=lambda trial: sign * trial.value, target_name=metric))
    figure: Figure = axes[0].figure
    _restyle(figure, len(study.trials[0].params))
    return figure


def _restyle(figure: Figure, settings: int) -> None:
    """Replace the grey style that Optuna sets, and drop titles and crowded labels."""
    figure.set_size_inches(max(MIN_WIDTH, WIDTH_PER_SETTING * settings), HEIGHT)
    figure.suptitle("")
    for axes in figure.axes:
        axes.set_facecolor("white")
        axes.set_title("")
        axes.tick_params(labelsize=8)
        axes.grid(visible=False, axis="x")
        axes.grid(color=GRID, axis="y")
        axes.set_xlabel(axes.get_xlabel(), fontsize=9)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_minor_formatter(NullFormatter())


def _distribution(dimension: SearchRange) -> "BaseDistribution":
    from optuna.distributions import (  # noqa: PLC0415 - imported for the search only
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if dimension.choices is not None:
        return CategoricalDistribution(dimension.choices)
    low, high = float(dimension.low or 0), float(dimension.high or 0)
    if dimension.kind == "int":
        return IntDistribution(int(low), int(high))
    return FloatDistribution(low, high, log=dimension.kind == "log")
