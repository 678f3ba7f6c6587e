"""The figures of the evaluation, as PNG bytes."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator, PercentFormatter

from visiongate.evaluation.explanations import EmbeddingMap
from visiongate.models.predictions import Predictions
from visiongate.pages.canvas import BLUE, COLORS, FAINT, INK, MARKERS, VERMILION, render, short_name
from visiongate.records.evaluation import (
    CalibrationBin,
    ClassMetrics,
    ConfidenceBin,
    PrecisionRecallPoint,
    RocPoint,
)
from visiongate.records.history import EpochMetrics
from visiongate.records.interval import Interval

# With more classes, counts do not fit into the cells of the confusion matrix, or names along its sides.
MAX_COUNTED_CLASSES, MAX_NAMED_CLASSES = 12, 30
MAX_BARS = 20
# The curves that are named; the others are gray.
MAX_NAMED_CURVES = 3
# A larger share gets a white number.
DARK_SHARE = 0.5
# With more classes, the map of the embeddings has no colors.
MAX_MAPPED_CLASSES = 20
# With more epochs, lines have no dots.
MAX_DOTTED_EPOCHS = 30


def draw_training(history: Sequence[EpochMetrics]) -> bytes:
    """Draw loss, accuracy and, unless the model is a baseline, the learning rate by epoch."""
    has_rate = any(epoch.lr is not None for epoch in history)
    epochs, dot = [row.epoch for row in history], "." if len(history) <= MAX_DOTTED_EPOCHS else ""

    def draw(figure: Figure) -> None:
        panels = figure.subplots(3 if has_rate else 2, 1, sharex=True, squeeze=False).ravel().tolist()
        for axis, what in zip(panels, ("loss", "accuracy"), strict=False):
            for split, color, line in (("train", BLUE, "--"), ("val", VERMILION, "-")):
                values = [getattr(row, f"{split}_{what}") for row in history]
                axis.plot(epochs, values, line, color=color, marker=dot, markersize=4, label=split)
            axis.set_title(what.capitalize())
        if has_rate:
            rates = [math.nan if row.lr is None else row.lr for row in history]
            panels[2].plot(epochs, rates, color=INK, marker=dot)
            panels[2].set_title("Learning rate")
        panels[-1].xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
        panels[-1].set_xlabel("epoch")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=2)

    return render(5.2 if has_rate else 4.0, draw)


def draw_confusion(matrix: npt.NDArray[np.int64], classes: Sequence[str]) -> bytes:
    """Draw the confusion matrix, each row as shares of its class.

    With many classes, numbers from 0 replace the names, and color grows with the square root of the share, so that a single
    pair of confused classes stays visible.

    Args:
        matrix: K×K, the actual class down.
        classes: K names.
    """
    images = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, images, out=np.zeros(matrix.shape), where=images > 0)
    counted = len(classes) <= MAX_COUNTED_CLASSES

    def draw(figure: Figure) -> None:
        axis = figure.subplots()
        image = axis.imshow(
            shares, cmap="Blues", norm=PowerNorm(1.0 if counted else 0.5, 0, 1), interpolation="nearest"
        )
        axis.grid(visible=False)
        axis.set(xlabel="predicted", ylabel="actual")
        _label_classes(axis, classes)
        if counted:
            _write_counts(axis, matrix, shares)
        else:
            bar = figure.colorbar(image, ax=axis, location="top", shrink=0.8, aspect=30, pad=0.02)
            bar.set_label("share of the class's images", fontsize=9)

    return render(4.0 if counted else 4.5, draw)


def _label_classes(axis: Axes, classes: Sequence[str]) -> None:
    if len(classes) > MAX_NAMED_CLASSES:
        axis.set(xlabel="predicted, by number", ylabel="actual, by number")
        for side in (axis.xaxis, axis.yaxis):
            side.set_major_locator(MaxNLocator(10, integer=True))
        return
    names = [short_name(name, number) for number, name in enumerate(classes)]
    size = 9 if len(classes) <= MAX_COUNTED_CLASSES else 6
    crowded = max(map(len, names)) > 24 / len(names)
    axis.set_xticks(range(len(names)), names, rotation=90 if crowded else 0, fontsize=size)
    axis.set_yticks(range(len(names)), names, fontsize=size)


def _write_counts(axis: Axes, matrix: npt.NDArray[np.int64], shares: npt.NDArray[np.float64]) -> None:
    # A digit is about 0.64 of its size wide, and the cells share some 230 points.
    size = min(11.0, 230 / len(matrix) / (0.64 * len(str(matrix.max())) + 0.4))
    for (row, column), count in np.ndenumerate(matrix):
        if count:
            color = "white" if shares[row, column] > DARK_SHARE else INK
            axis.text(column, row, str(count), color=color, ha="center", va="center", fontsize=size)


def draw_roc(points: Sequence[RocPoint], classes: Sequence[ClassMetrics], area: float) -> bytes:
    """Draw the ROC curve of each class against the rest; of two classes, only that of the second.

    Args:
        points: Of all curves.
        classes: In the order of the model's outputs.
        area: The area under the curve, to write above it.
    """
    curves: dict[str, list[tuple[float, float]]] = {}
    for point in points:
        curves.setdefault(point.name, []).append((point.fpr, point.tpr))

    def draw(figure: Figure) -> None:
        axis = figure.subplots()
        axis.plot([0, 1], [0, 1], ":", color=FAINT, label="chance")
        _draw_curves(axis, curves, classes, "default")
        axis.set(xlabel="false positive rate", ylabel="true positive rate", title=f"ROC-AUC {area:.4f}")
        _frame(figure, axis)

    return render(4.5, draw)


def draw_precision_recall(
    points: Sequence[PrecisionRecallPoint], classes: Sequence[ClassMetrics], average: float
) -> bytes:
    """Draw the precision-recall curve of each class against the rest; of two classes, only that of the second.

    Curves are steps, because a straight line between two points is too optimistic: Davis, J., Goadrich, M. (2006), The
    relationship between precision-recall and ROC curves, ICML.

    Args:
        points: Of all curves.
        classes: In the order of the model's outputs.
        average: The average precision, to write above the curve.
    """
    curves: dict[str, list[tuple[float, float]]] = {}
    for point in points:
        curves.setdefault(point.name, []).append((point.recall, point.precision))

    def draw(figure: Figure) -> None:
        axis = figure.subplots()
        _draw_curves(axis, curves, classes, "steps-post")
        axis.set(xlabel="recall", ylabel="precision", title=f"Average precision {average:.4f}")
        _frame(figure, axis)

    return render(4.5, draw)


def _draw_curves(
    axis: Axes,
    curves: Mapping[str, Sequence[tuple[float, float]]],
    classes: Sequence[ClassMetrics],
    drawstyle: str,
) -> None:
    """Draw the curves, of which those with the lowest average precision are colored and named: the same in both figures."""
    areas = {each.name: each.average_precision for each in classes}
    names = list(areas)
    shown = names[1:] if len(names) == 2 else [name for name in names if name in curves]  # noqa: PLR2004
    worst = sorted(shown, key=lambda name: areas[name] or 0.0)[:MAX_NAMED_CURVES]
    for name in shown:
        if name not in worst:
            axis.plot(
                *zip(*curves[name], strict=True), color=FAINT, alpha=0.4, linewidth=0.8, drawstyle=drawstyle
            )
    for name, color in zip(worst, COLORS, strict=False):
        label = short_name(name, names.index(name))
        axis.plot(
            *zip(*curves[name], strict=True), color=color, linewidth=2, drawstyle=drawstyle, label=label
        )


def _frame(figure: Figure, axis: Axes) -> None:
    axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    figure.legend(loc="outside upper left", ncols=2)


def draw_reliability(bins: Sequence[CalibrationBin]) -> bytes:
    """Draw accuracy by confidence, and below it the images in each bin."""
    confidence = [each.confidence for each in bins]

    def draw(figure: Figure) -> None:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        upper.plot([0, 1], [0, 1], ":", color=FAINT, label="perfectly calibrated")
        upper.plot(confidence, [each.accuracy for each in bins], "o-", color=BLUE, label="model")
        upper.set(ylabel="accuracy", xlim=(-0.02, 1.02), ylim=(-0.03, 1.03))
        lower.bar(confidence, [each.images for each in bins], width=0.025, color=BLUE)
        lower.set(xlabel="confidence", ylabel="images", yscale="log", ylim=(0.7, None))
        lower.yaxis.set_major_formatter("{x:,.0f}")
        lower.minorticks_off()
        figure.legend(loc="outside upper left", ncols=2)

    return render(4.6, draw)


def draw_confidence(bins: Sequence[ConfidenceBin]) -> bytes:
    """Draw histograms of the confidence of correct and of wrong predictions."""
    middles, width = [each.confidence for each in bins], 1 / len(bins)
    counts = {"Correct": [each.right for each in bins], "Wrong": [each.wrong for each in bins]}

    def draw(figure: Figure) -> None:
        panels = figure.subplots(2, 1, sharex=True)
        for axis, (name, heights), color in zip(panels, counts.items(), (BLUE, VERMILION), strict=True):
            axis.bar(middles, heights, width, color=color)
            axis.set(title=f"{name} predictions: {sum(heights):,}", ylabel="images", ylim=(0, None))
            axis.yaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
        panels[-1].set(xlabel="confidence", xlim=(-0.01, 1.01))

    return render(3.8, draw)


def draw_classes(results: Sequence[ClassMetrics], intervals: Mapping[str, Interval]) -> bytes:
    """Draw the recall of each class that has images, with its interval; of many classes, the `MAX_BARS` lowest.

    Args:
        results: In the order of the classes.
        intervals: Of the recalls, by class.
    """
    numbered = [(number, each, each.recall) for number, each in enumerate(results) if each.recall is not None]
    many = len(numbered) > MAX_BARS
    shown = sorted(numbered, key=lambda item: (item[2], item[0]))[:MAX_BARS] if many else numbered

    def draw(figure: Figure) -> None:
        axis = figure.subplots()
        axis.barh(range(len(shown)), [recall for _, _, recall in shown], color=BLUE, height=0.7)
        for row, (_, result, _) in enumerate(shown):
            bounds = intervals[result.name]
            axis.plot([bounds.low, bounds.high], [row, row], color=INK, linewidth=1.5)
        names = [f"{short_name(result.name, number)} ({result.images:,})" for number, result, _ in shown]
        axis.set_yticks(range(len(shown)), names)
        axis.set(xlim=(0, 1.01), ylim=(len(shown) - 0.4, -0.6), xlabel="recall")
        axis.grid(visible=False, axis="y")
        if many:
            figure.suptitle(f"The {len(shown)} lowest of {len(numbered)} classes", fontsize=11)

    return render(0.9 + 0.22 * max(3, len(shown)), draw)


def draw_robustness(accuracies: Mapping[str, Sequence[float]]) -> bytes:
    """Draw the accuracy of each corruption by severity."""

    def draw(figure: Figure) -> None:
        axis = figure.subplots()
        for (name, values), color, marker in zip(accuracies.items(), COLORS, MARKERS, strict=False):
            axis.plot(range(len(values)), values, color=color, marker=marker, markersize=5, label=name)
        axis.set(xlabel="severity (0: original)", ylabel="accuracy", ylim=(-0.02, 1.02))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.yaxis.set_major_formatter(PercentFormatter(1.0))
        figure.legend(loc="outside upper left", ncols=3)

    return render(4.0, draw)


def draw_embeddings(embeddings: EmbeddingMap, test: Predictions) -> bytes:
    """Draw the map of the embeddings: a color and a name for each class, unless there are many, and a cross for each mistake.

    Args:
        embeddings: Places of judged images.
        test: The predictions for all judged images.
    """
    points, labels = embeddings.points, test.labels[embeddings.rows]
    wrong = ~test.correct[embeddings.rows]
    classes = np.unique(labels).tolist()
    named = len(classes) <= MAX_MAPPED_CLASSES

    def draw(figure: Figure) -> None:
        axis = figure.subplots()
        for number in classes:
            own = points[labels == number]
            color = COLORS[number % len(COLORS)] if named else FAINT
            marker = MARKERS[number // len(COLORS) % len(MARKERS)]
            axis.scatter(own[:, 0], own[:, 1], s=9, color=color, marker=marker, alpha=0.6, linewidths=0)
        axis.scatter(
            points[wrong, 0], points[wrong, 1], s=34, color=INK, marker="x", linewidths=1.2, label="mistake"
        )
        for number in classes if named else []:
            x, y = np.median(points[labels == number], axis=0)
            name = short_name(test.classes[number], number)
            text = axis.text(x, y, name, ha="center", va="center", fontweight="bold")
            text.set_path_effects([withStroke(linewidth=3, foreground="white")])
        axis.set(xticks=[], yticks=[])
        if len(points) < len(test.labels):
            axis.set_title(f"{len(points):,} of {len(test.labels):,} images")
        figure.legend(loc="outside upper left")

    return render(4.0, draw)
