"""A judged model in pictures, as PNG bytes: what it confuses, how it trades errors, whether its confidence can be believed."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from visiongate.evaluation.calibration import CalibrationBin
from visiongate.evaluation.corruptions import RobustnessRow
from visiongate.evaluation.metrics import ClassResult
from visiongate.pages.canvas import BLUE, COLORS, FAINT, INK, MARKERS, VERMILION, render, short_name
from visiongate.records.history import EpochMetrics
from visiongate.records.interval import Interval

Floats = npt.NDArray[np.float64]
Points = Sequence[tuple[float, float]]

MOST_COUNTED = 12  # classes whose counts fit into the cells
MOST_NAMED = 30  # classes whose names fit along a side
MOST_BARS = 20
CONFIDENCE_BINS = 20
GRID_POINTS = 201  # at which curves are averaged
DARK = 0.5  # share from which a cell's number is white
FEW_EPOCHS = 30  # of which each gets a dot


def draw_training(history: Sequence[EpochMetrics], best_epoch: int | None = None) -> bytes:
    """Draw loss, accuracy and learning rate by epoch, the epoch that was kept marked."""
    rated = any(row.lr is not None for row in history)

    def draw(figure: Figure) -> None:
        panels = figure.subplots(3 if rated else 2, 1, sharex=True, squeeze=False).ravel().tolist()
        loss, accuracy = panels[:2]
        _draw_pair(loss, history, "loss")
        _draw_pair(accuracy, history, "accuracy")
        if rated:
            rates = [math.nan if row.lr is None else row.lr for row in history]
            panels[2].plot([row.epoch for row in history], rates, color=INK, marker=_dot(history))
            panels[2].set_title("Learning rate")
        for axis in panels:
            axis.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
            if best_epoch is not None:
                axis.axvline(best_epoch, color=FAINT, linestyle=":", label=f"kept: epoch {best_epoch}")
        panels[-1].set_xlabel("epoch")
        figure.legend(*loss.get_legend_handles_labels(), loc="outside upper left", ncols=3)

    return render(5.2 if rated else 4.0, draw)


def _draw_pair(axis: Axes, history: Sequence[EpochMetrics], what: str) -> None:
    epochs = [row.epoch for row in history]
    for split, color, line in (("train", BLUE, "--"), ("val", VERMILION, "-")):
        values = [getattr(row, f"{split}_{what}") for row in history]
        axis.plot(epochs, values, line, color=color, marker=_dot(history), markersize=4, label=split)
    axis.set_title(what.capitalize())


def _dot(history: Sequence[EpochMetrics]) -> str:
    return "." if len(history) <= FEW_EPOCHS else ""


def draw_confusion(matrix: npt.NDArray[np.int64], classes: Sequence[str]) -> bytes:
    """Draw what each class was taken for, each row as shares of its own images.

    With many classes names give way to numbers, from 0 in the order of the classes, and color grows as the square root of the
    share, so that a single pair of confused classes stays in sight.

    Args:
        matrix: K×K, the true class down, the predicted one across.
        classes: K names.
    """
    images = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, images, out=np.zeros(matrix.shape), where=images > 0)
    counted = len(classes) <= MOST_COUNTED

    def draw(figure: Figure) -> None:
        axis = figure.subplots()
        norm = PowerNorm(1.0 if counted else 0.5, 0, 1)
        image = axis.imshow(shares, cmap="Blues", norm=norm, interpolation="nearest")
        axis.grid(visible=False)
        _label_classes(axis, classes)
        if counted:
            _write_counts(axis, matrix, shares)
        else:
            bar = figure.colorbar(image, ax=axis, location="top", shrink=0.8, aspect=30, pad=0.02)
            bar.set_label("share of the class's images", fontsize=9)
        axis.set_xlabel("predicted")
        axis.set_ylabel("true")

    return render(4.0 if counted else 4.5, draw)


def _label_classes(axis: Axes, classes: Sequence[str]) -> None:
    if len(classes) > MOST_NAMED:
        axis.set(xlabel="predicted, by number", ylabel="true, by number")
        for side in (axis.xaxis, axis.yaxis):
            side.set_major_locator(MaxNLocator(10, integer=True))
        return
    names = [short_name(name, number) for number, name in enumerate(classes)]
    size = 9 if len(classes) <= MOST_COUNTED else 6
    upright = max(map(len, names)) > 24 / len(names)
    axis.set_xticks(range(len(names)), names, rotation=90 if upright else 0, fontsize=size)
    axis.set_yticks(range(len(names)), names, fontsize=size)


def _write_counts(axis: Axes, matrix: npt.NDArray[np.int64], shares: Floats) -> None:
    # A digit is about 0.64 of its size wide, and the cells share some 230 points.
    size = min(11.0, 230 / len(matrix) / (0.64 * len(str(matrix.max())) + 0.4))
    for (row, column), count in np.ndenumerate(matrix):
        if count:
            color = "white" if shares[row, column] > DARK else INK
            axis.text(column, row, str(count), color=color, ha="center", va="center", fontsize=size)


def draw_roc(curves: Mapping[str, Points], classes: Sequence[str], area: float | None = None) -> bytes:
    """Draw the ROC curve of the second of two classes; of more, each class against the rest and their mean.

    The mean is over the true positive rates at one false positive rate: Fawcett, T. (2006), An introduction to ROC analysis,
    Pattern Recognition Letters 27, section 8.1.

    Args:
        curves: By class, false and true positive rates, in any order; a class without images has none.
        classes: All names, in the order of the model's outputs.
        area: Under the curve, to write beside it.
    """

    def draw(figure: Figure) -> None:
        axis = figure.subplots()
        axis.plot([0, 1], [0, 1], ":", color=FAINT, label="chance")
        _draw_curves(axis, curves, classes, _ROC)
        axis.set(xlabel="false positive rate", ylabel="true positive rate")
        _frame(figure, axis, "area under the curve", area)

    return render(4.5, draw)


def draw_precision_recall(
    curves: Mapping[str, Points], classes: Sequence[str], average: float | None = None
) -> bytes:
    """Draw precision by recall, of the second of two classes; of more, of each class against the rest and their mean.

    Between two points precision is that of the higher recall, never on a straight line, which promises too much: Davis, J.,
    Goadrich, M. (2006), The relationship between precision-recall and ROC curves, ICML.

    Args:
        curves: By class, recalls and precisions, in any order; a class without images has none.
        classes: All names, in the order of the model's outputs.
        average: The average precision, to write beside it.
    """

    def draw(figure: Figure) -> None:
        axis = figure.subplots()
        _draw_curves(axis, curves, classes, _PRECISION_RECALL)
        axis.set(xlabel="recall", ylabel="precision")
        _frame(figure, axis, "average precision", average)

    return render(4.5, draw)


def _read_roc(points: Points, grid: Floats) -> Floats:
    """Read true positive rates at false positive rates; where the curve rises straight up, at its top."""
    across, up = _columns(points)
    across, last = np.unique(across[::-1], return_index=True)
    found: Floats = np.interp(grid, across, up[::-1][last])
    return found


def _read_precision(points: Points, grid: Floats) -> Floats:
    """Read precisions at recalls: that of the point with the least recall that reaches it, the best of several."""
    recall, precision = _columns(points)
    last = (
        np.searchsorted(recall, recall[np.searchsorted(recall, grid).clip(max=len(recall) - 1)], "right") - 1
    )
    found: Floats = precision[last]
    return found


def _columns(points: Points) -> tuple[Floats, Floats]:
    across, up = np.array(sorted(points), dtype=np.float64).T
    return across, up


@dataclass(frozen=True, slots=True)
class _Manner:
    """How points become a curve."""

    read: Callable[[Points, Floats], Floats]  # at a grid
    drawstyle: Literal["default", "steps-pre"]
    start: tuple[tuple[float, float], ...] = ()  # of a mean


_ROC = _Manner(_read_roc, "default", ((0.0, 0.0),))
_PRECISION_RECALL = _Manner(_read_precision, "steps-pre")


def _draw_curves(axis: Axes, curves: Mapping[str, Points], classes: Sequence[str], manner: _Manner) -> None:
    if len(classes) == 2:  # noqa: PLR2004 - each is the other's rest
        label = short_name(classes[1], 1)
        axis.plot(
            *_columns(curves[classes[1]]), color=BLUE, linewidth=2, drawstyle=manner.drawstyle, label=label
        )
        return
    for place, points in enumerate(curves.values()):
        label = "" if place else "each class"
        axis.plot(
            *_columns(points),
            color=FAINT,
            alpha=0.4,
            linewidth=0.8,
            drawstyle=manner.drawstyle,
            label=label,
        )
    grid = np.linspace(0, 1, GRID_POINTS)
    mean = np.mean([manner.read(points, grid) for points in curves.values()], axis=0)
    across, up = np.array([*manner.start, *zip(grid, mean, strict=True)]).T
    axis.plot(across, up, color=BLUE, linewidth=2, label="their mean")


def _frame(figure: Figure, axis: Axes, measure: str, value: float | None) -> None:
    axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    if value is not None:
        axis.set_title(f"{measure} {value:.4f}")
    figure.legend(loc="outside upper left", ncols=3)


def draw_reliability(bins: Sequence[CalibrationBin]) -> bytes:
    """Draw how often the model is right by how confident it is, and below how many images each bin has."""
    confidence = [one.confidence for one in bins]

    def draw(figure: Figure) -> None:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        upper.plot([0, 1], [0, 1], ":", color=FAINT, label="as sure as right")
        upper.plot(
            confidence, [one.accuracy for one in bins], "o-", color=BLUE, label="bins of the test images"
        )
        upper.set(ylabel="share right", xlim=(-0.02, 1.02), ylim=(-0.03, 1.03))
        lower.bar(confidence, [one.images for one in bins], width=0.025, color=BLUE)
        lower.set(xlabel="confidence", ylabel="images", yscale="log", ylim=(0.7, None))
        lower.yaxis.set_major_formatter("{x:,.0f}")
        lower.minorticks_off()
        figure.legend(loc="outside upper left", ncols=2)

    return render(4.6, draw)


def draw_confidence(confidences: Floats, correct: npt.NDArray[np.bool_]) -> bytes:
    """Draw how confident the model is where it is right, and below where it is wrong.

    Args:
        confidences: N, of the predicted classes, in 0..1.
        correct: N, whether the prediction is right.
    """
    edges = np.linspace(0, 1, CONFIDENCE_BINS + 1)

    def draw(figure: Figure) -> None:
        panels = figure.subplots(2, 1, sharex=True)
        for axis, name, chosen, color in zip(
            panels, ("Right", "Wrong"), (correct, ~correct), (BLUE, VERMILION), strict=True
        ):
            axis.hist(np.clip(confidences[chosen], 0, 1), edges, color=color)
            count = int(chosen.sum())
            axis.set(
                title=f"{name}: {count:,} image{'' if count == 1 else 's'}", ylabel="images", ylim=(0, None)
            )
            axis.yaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
        panels[-1].set(xlabel="confidence", xlim=(-0.01, 1.01))

    return render(3.8, draw)


def draw_classes(results: Sequence[ClassResult], intervals: Mapping[str, Interval] | None = None) -> bytes:
    """Draw the recall of each class that has images; of many classes, the `MOST_BARS` lowest.

    Args:
        results: In the order of the classes.
        intervals: Of the recalls, by class, where there are any.
    """
    found = intervals or {}
    numbered = [(number, result) for number, result in enumerate(results) if result.recall is not None]
    shown = _lowest(numbered)

    def draw(figure: Figure) -> None:
        axis = figure.subplots()
        names = [f"{short_name(result.name, number)} ({result.images:,})" for number, result in shown]
        axis.barh(range(len(shown)), [result.recall or 0.0 for _, result in shown], color=BLUE, height=0.7)
        for place, (_, result) in enumerate(shown):
            if (interval := found.get(result.name)) is not None:
                axis.plot([interval.low, interval.high], [place, place], color=INK, linewidth=1.5)
        axis.set_yticks(range(len(shown)), names)
        axis.set(xlim=(0, 1.01), ylim=(len(shown) - 0.4, -0.6), xlabel="recall")
        axis.grid(visible=False, axis="y")
        if len(shown) < len(numbered):
            figure.suptitle(f"The {len(shown)} lowest of {len(numbered)} classes", fontsize=11)

    return render(0.9 + 0.22 * max(3, len(shown)), draw)


def _lowest(numbered: Sequence[tuple[int, ClassResult]]) -> Sequence[tuple[int, ClassResult]]:
    if len(numbered) <= MOST_BARS:
        return numbered
    return sorted(numbered, key=lambda item: (item[1].recall or 0.0, item[0]))[:MOST_BARS]


def draw_robustness(rows: Sequence[RobustnessRow]) -> bytes:
    """Draw the accuracy by the severity of each corruption, from the clean images on."""

    def draw(figure: Figure) -> None:
        axis = figure.subplots()
        for place, (name, points) in enumerate(robustness_curves(rows)):
            color, marker = COLORS[place % len(COLORS)], MARKERS[place % len(MARKERS)]
            axis.plot(*zip(*points, strict=True), color=color, marker=marker, markersize=5, label=name)
        axis.set(xlabel="severity (0: clean)", ylabel="accuracy", ylim=(-0.02, 1.02))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.yaxis.set_major_formatter(PercentFormatter(1.0))
        figure.legend(loc="outside upper left", ncols=3)

    return render(4.0, draw)


def robustness_curves(rows: Sequence[RobustnessRow]) -> Iterator[tuple[str, list[tuple[int, float]]]]:
    """Yield each corruption's severities and accuracies, in order; one that has no clean row begins at another's."""
    clean = next((row.accuracy for row in rows if row.severity == 0), None)
    for name in dict.fromkeys(row.corruption for row in rows):
        points = {row.severity: row.accuracy for row in rows if row.corruption == name}
        if any(points):  # a severity above 0
            start = {} if clean is None else {0: clean}
            yield name, sorted((start | points).items())
