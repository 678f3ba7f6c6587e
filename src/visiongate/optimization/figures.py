"""The search in pictures: where each mark of a figure lies, from 0 to 1 in both directions; the template draws them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from visiongate.optimization.outcome import Outcome, signed
from visiongate.optimization.space import Value
from visiongate.optimization.study import TrialResult
from visiongate.settings.optimize import SearchRange

MARGIN = 0.04  # of an axis, at both ends
TICKS = 5  # on an axis, about


@dataclass(frozen=True, slots=True)
class Axis:
    """A direction of a figure."""

    label: str
    ticks: list[tuple[float, str]]  # where, and what is written there
    locate: Callable[[Value], float]


@dataclass(frozen=True, slots=True)
class Mark:
    """A trial in a figure."""

    x: float
    y: float | None  # None of a trial that was ended early, which has no value
    kind: str  # best, current, complete or pruned
    title: str


@dataclass(frozen=True, slots=True)
class Figure:
    """Marks between two axes."""

    across: Axis
    up: Axis
    marks: list[Mark]
    steps: list[tuple[float, float]] = field(default_factory=list)  # a line through these points


@dataclass(frozen=True, slots=True)
class Parallel:
    """An axis for each setting and one for the value, and a line through them for each trial."""

    axes: list[Axis]
    lines: list[tuple[str, list[tuple[float, float]], str]]  # kind, points, title; the last drawn on top


def draw_history(outcome: Outcome) -> Figure:
    """Draw each trial's value by its place, and the best so far."""
    trials = outcome.found.trials
    places = [float(trial.trial) for trial in trials]
    across = _linear("trial", places, whole=True)
    up = _value_axis(outcome)
    best = -math.inf
    steps: list[tuple[float, float]] = []
    for trial in trials:
        if trial.value is not None and trial.value > best:
            if steps:
                steps.append((across.locate(trial.trial), steps[-1][1]))
            best = trial.value
            steps.append((across.locate(trial.trial), up.locate(signed(outcome.metric, best))))
    steps.append((1.0, steps[-1][1]))
    return Figure(
        across, up, [_mark(outcome, trial, across.locate(trial.trial), up) for trial in trials], steps
    )


def draw_slices(outcome: Outcome, space: Sequence[SearchRange]) -> list[Figure]:
    """Draw the value by each setting."""
    up = _value_axis(outcome)
    figures = []
    for dimension in space:
        across = _setting_axis(dimension)
        marks = [
            _mark(outcome, trial, across.locate(trial.values[dimension.setting]), up)
            for trial in outcome.found.trials
        ]
        figures.append(Figure(across, up, marks))
    return figures


def draw_parallel(outcome: Outcome, space: Sequence[SearchRange]) -> Parallel:
    """Draw all settings of each trial beside its value."""
    axes = [_setting_axis(dimension) for dimension in space]
    up = _value_axis(outcome)
    order = ("pruned", "complete", "current", "best")
    lines = []
    for trial in outcome.found.trials:
        heights = [
            axis.locate(trial.values[dimension.setting]) for axis, dimension in zip(axes, space, strict=True)
        ]
        if trial.value is not None:
            heights.append(up.locate(signed(outcome.metric, trial.value)))
        points = [(index / len(axes), height) for index, height in enumerate(heights)]
        lines.append((_kind(outcome, trial), points, _title(outcome, trial)))
    return Parallel([*axes, up], sorted(lines, key=lambda line: order.index(line[0])))


def _mark(outcome: Outcome, trial: TrialResult, x: float, up: Axis) -> Mark:
    y = None if trial.value is None else up.locate(signed(outcome.metric, trial.value))
    return Mark(x, y, _kind(outcome, trial), _title(outcome, trial))


def _kind(outcome: Outcome, trial: TrialResult) -> str:
    if trial.trial == outcome.found.best.trial:
        return "best"
    return "current" if trial.trial == 0 else trial.state


def _title(outcome: Outcome, trial: TrialResult) -> str:
    shown = "pruned" if trial.value is None else f"{signed(outcome.metric, trial.value):.4f}"
    return f"trial {trial.trial}: {shown}"


def _value_axis(outcome: Outcome) -> Axis:
    values = [
        signed(outcome.metric, trial.value) for trial in outcome.found.trials if trial.value is not None
    ]
    return _linear(outcome.metric, values)


def _setting_axis(dimension: SearchRange) -> Axis:
    if dimension.choices is not None:
        return _choices(dimension.setting, dimension.choices)
    ends = [float(dimension.low or 0), float(dimension.high or 0)]
    if dimension.kind == "log":
        return _logarithmic(dimension.setting, *ends)
    return _linear(dimension.setting, ends, whole=dimension.kind == "int")


def _choices(label: str, choices: Sequence[Value]) -> Axis:
    places = {repr(choice): (index + 0.5) / len(choices) for index, choice in enumerate(choices)}
    ticks = [(places[repr(choice)], "null" if choice is None else str(choice)) for choice in choices]
    return Axis(label, ticks, lambda value: places[repr(value)])


def _linear(label: str, values: Sequence[float], *, whole: bool = False) -> Axis:
    low, high = min(values), max(values)
    span = high - low or max(abs(low), 1.0)
    step = _nice(span / TICKS)
    if whole:
        step = max(1.0, round(step))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    digits = max(0, -math.floor(math.log10(step)))
    ticks = [
        (_inset((index * step - low) / span), f"{index * step:.{digits}f}")
        for index in range(first, last + 1)
    ]
    return Axis(label, ticks, lambda value: _inset((float(value or 0) - low) / span))


def _logarithmic(label: str, low: float, high: float) -> Axis:
    span = math.log10(high / low) or 1.0
    powers = range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)
    marks = [10.0**power for power in powers] if len(powers) > 1 else [low, high]
    ticks = [(_inset(math.log10(mark / low) / span), f"{mark:.3g}") for mark in marks]
    return Axis(label, ticks, lambda value: _inset(math.log10(float(value or low) / low) / span))


def _nice(step: float) -> float:
    """Return 1, 2 or 5 times a power of ten, no less than the step."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= step * (1 - 1e-9))


def _inset(share: float) -> float:
    return MARGIN + (1 - 2 * MARGIN) * share
