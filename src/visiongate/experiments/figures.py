"""Experiments in pictures: each with its interval, by what was varied, and epoch by epoch."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from visiongate.experiments.ranking import ABSENT, Ranking, Row, show
from visiongate.pages.canvas import BLUE, COLORS, FAINT, GREEN, GRID, INK, MARKERS, VERMILION, render

SHOWN = 30  # experiments in a picture
CURVES = 7  # as many as there are colors
SETTINGS = 8  # axes in a picture
LOGARITHMIC = 20.0  # the ratio of the largest to the least value above which an axis is logarithmic
LABEL = 24  # characters
ROW = 0.26  # inches


def draw_values(ranking: Ranking) -> bytes:
    """Draw each experiment's value and interval, the best on top, and the base below."""
    rows = [*[row for row in ranking.rows if row.value is not None][:SHOWN], ranking.base]
    rows = [row for row in rows if row.value is not None]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for place, row in enumerate(reversed(rows)):
            _draw_value(axes, place, row, _color(ranking, row))
        axes.set_yticks(range(len(rows)), [_shorten(row.experiment.name) for row in reversed(rows)])
        axes.set_ylim(-0.7, len(rows) - 0.3)
        axes.set_xlabel(ranking.metric)
        axes.grid(visible=False, axis="y")

    return render(0.8 + ROW * len(rows), draw)


def _draw_value(axes: Axes, place: int, row: Row, color: str) -> None:
    value = row.value or 0.0
    if row.interval is not None:
        axes.plot(
            [row.interval.low, row.interval.high], [place, place], color=color, linewidth=1.5, alpha=0.6
        )
    axes.plot([value], [place], "o", color=color, markersize=5)


def _color(ranking: Ranking, row: Row) -> str:
    if row is ranking.base:
        return VERMILION
    return GREEN if row is ranking.best else BLUE


def draw_by_setting(ranking: Ranking) -> dict[str, bytes]:
    """Draw the metric by each setting that was varied, whatever the others were."""
    return {name: _draw_setting(ranking, name) for name in varied_settings(ranking)}


def varied_settings(ranking: Ranking) -> list[str]:
    """Return the settings to show: of those that always change together one, the most varied first, so many as have room."""
    rows = (*ranking.rows, ranking.base)
    kept: dict[tuple[int, ...], str] = {}
    for name in sorted(ranking.varied, key=lambda name: (not name.endswith(".name"), name)):
        values = [show(row.experiment.params.get(name, ABSENT)) for row in rows]
        kept.setdefault(tuple(values.index(value) for value in values), name)
    return [name for _, name in sorted(kept.items(), key=lambda each: -len(set(each[0])))][:SETTINGS]


def _draw_setting(ranking: Ranking, name: str) -> bytes:
    rows = [row for row in (*ranking.rows, ranking.base) if row.value is not None]
    values = [row.experiment.params.get(name, ABSENT) for row in rows]
    places, ticks, logarithmic = _axis(values)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for place, row in zip(places, rows, strict=True):
            axes.plot([place], [row.value or 0.0], "o", color=_color(ranking, row), markersize=6, alpha=0.8)
        if logarithmic:
            axes.set_xscale("log")
        axes.set_xticks(list(ticks), list(ticks.values()))
        axes.set_xticks([], minor=True)
        axes.margins(0.1)
        axes.set_xlabel(_shorten(name, 2 * LABEL))
        axes.set_ylabel(ranking.metric)

    return render(2.4, draw)


def _axis(values: Sequence[Any]) -> tuple[list[float], dict[float, str], bool]:
    """Return where each value lies, what is written where, and whether the axis is logarithmic."""
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        numbers = [float(value) for value in values]
        marks = _thin(sorted(set(numbers)))
        logarithmic = min(numbers) > 0 and max(numbers) / min(numbers) >= LOGARITHMIC
        return numbers, {mark: f"{mark:.4g}" for mark in marks}, logarithmic
    names = sorted({show(value) for value in values})
    places = [float(names.index(show(value))) for value in values]
    return places, {float(index): _shorten(name, 12) for index, name in enumerate(names)}, False


def _thin(marks: Sequence[float], most: int = 6) -> list[float]:
    step = math.ceil(len(marks) / most)
    return [*marks[:-1:step], marks[-1]] if len(marks) > 1 else list(marks)


def draw_parallel(ranking: Ranking) -> bytes:
    """Draw a line for each experiment, through its settings to its value; darker is better."""
    rows = [row for row in ranking.rows if row.value is not None][:SHOWN]
    names = [name for name in varied_settings(ranking) if _varies(rows, name)]
    columns = [[row.experiment.params.get(name, ABSENT) for row in rows] for name in names]
    axes_ = [*(_scale(column) for column in columns), _scale([row.value for row in rows])]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for index in reversed(range(len(rows))):
            best = rows[index] is ranking.best
            heights = [places[index] for places, _ in axes_]
            shade = 0.25 + 0.6 * (1 - index / len(rows))
            axes.plot(
                heights,
                color=GREEN if best else BLUE,
                alpha=1 if best else shade,
                linewidth=2.5 if best else 1.2,
            )
        for place, (_, ticks) in enumerate(axes_):
            _draw_axis(axes, place, ticks)
        axes.set_xticks(
            range(len(axes_)), [_shorten(name.split(".")[-1], 14) for name in [*names, ranking.metric]]
        )
        axes.tick_params(axis="x", rotation=25)
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
        axes.margins(x=0.08)

    return render(3.0, draw)


def _varies(rows: Sequence[Row], name: str) -> bool:
    return len({show(row.experiment.params.get(name, ABSENT)) for row in rows}) > 1


def _draw_axis(axes: Axes, place: int, ticks: Mapping[float, str]) -> None:
    axes.axvline(place, color=FAINT, linewidth=0.8, zorder=0)
    for height, text in ticks.items():
        box = {"facecolor": "white", "edgecolor": GRID, "pad": 1.0, "alpha": 0.85}
        axes.text(place, height, text, fontsize=7, color=INK, ha="center", va="center", bbox=box)


def _scale(values: Sequence[Any]) -> tuple[list[float], dict[float, str]]:
    """Bring the values of an axis to 0..1."""
    places, ticks, logarithmic = _axis(values)
    known = np.asarray([*places, *ticks], dtype=np.float64)
    heights = np.log(known) if logarithmic else known
    span = heights.max() - heights.min()
    scaled = (heights - heights.min()) / span if span else np.full(len(heights), 0.5)
    ends = dict(zip(scaled[len(places) :].tolist(), (text[:8] for text in ticks.values()), strict=True))
    return scaled[: len(places)].tolist(), ends


def draw_curves(curves: Mapping[str, Sequence[float]], column: str) -> bytes:
    """Draw a column of the training's history, epoch by epoch.

    Args:
        curves: The values by experiment, the best first.
        column: What they are.
    """

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for (name, values), color, marker in zip(
            list(curves.items())[:CURVES], COLORS, MARKERS, strict=False
        ):
            epochs = range(1, len(values) + 1)
            axes.plot(
                epochs, values, color=color, marker=marker, markersize=3, linewidth=1.2, label=_shorten(name)
            )
        axes.set_xlabel("epoch")
        axes.set_ylabel(column)
        axes.legend()

    return render(3.0, draw)


def _shorten(text: str, length: int = LABEL) -> str:
    half = length // 2
    return text if len(text) <= length else f"{text[: half - 1]}…{text[-half:]}"
