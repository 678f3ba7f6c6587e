"""A figure of the importance of each pixel to a baseline."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from visiongate.models.pixel_classifier import Importances
from visiongate.models.pixel_features import Pooling
from visiongate.records.files import atomic_path

MAX_PANELS = 10
COLUMNS = 5
# Height and width of a panel.
INCHES = 2.4
DPI = 120
COLORS = "magma"


@dataclass(frozen=True, slots=True)
class Picture:
    """The content of the figure.

    Attributes:
        panels: P×h×w.
        titles: One per panel; empty for a single panel.
        measure: The label of the color bar.
        height: Of the images, in pixels.
        width: Of the images, in pixels.
    """

    panels: npt.NDArray[np.float64]
    titles: list[str]
    measure: str
    height: int
    width: int


def draw_pixel_importance(
    importances: Importances, pooling: Pooling, names: Sequence[str], title: str, path: Path
) -> None:
    """Write a PNG; equal content gives equal bytes.

    Args:
        importances: Averaged over the channels, and over the panels if there are more than `MAX_PANELS`.
        pooling: Maps pixels to features.
        names: Class names.
        title: The title of the figure.
        path: The file to write.
    """
    picture = _compose(importances, pooling, names)
    rows, columns = _layout(len(picture.panels))
    figure = Figure(figsize=_figure_size(rows, columns), dpi=DPI, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    _draw(figure, axes, picture)
    figure.suptitle(title, fontsize=11)
    with atomic_path(path) as temporary:
        # By default the metadata contains matplotlib's version.
        canvas.print_png(temporary, metadata={"Software": None})  # type: ignore[no-untyped-call]


def _compose(importances: Importances, pooling: Pooling, names: Sequence[str]) -> Picture:
    panels = importances.panels.reshape(-1, *pooling.shape).mean(axis=-1)
    titles = [] if importances.classes is None else [names[number] for number in importances.classes]
    if len(panels) > MAX_PANELS:
        panels, titles = panels.mean(axis=0, keepdims=True), []
    height, width, channels = pooling.input_shape
    means = [
        *(["colors"] if channels > 1 else []),
        *(["classes"] if importances.classes is not None and not titles else []),
    ]
    measure = importances.measure + (f", mean over {' and '.join(means)}" if means else "")
    return Picture(panels, titles, measure, height, width)


def _layout(panels: int) -> tuple[int, int]:
    rows = math.ceil(panels / COLUMNS)
    return rows, math.ceil(panels / rows)


def _figure_size(rows: int, columns: int) -> tuple[float, float]:
    inches = INCHES if rows * columns > 1 else 2 * INCHES
    return columns * inches + 0.9, rows * (inches + 0.15) + 0.5


def _draw(figure: Figure, axes: list[Axes], picture: Picture) -> None:
    highest = float(picture.panels.max()) or 1.0
    extent = (0.0, float(picture.width), float(picture.height), 0.0)
    for number, axis in enumerate(axes):
        if number >= len(picture.panels):
            axis.set_visible(False)
            continue
        image = axis.imshow(
            picture.panels[number], cmap=COLORS, vmin=0, vmax=highest, extent=extent, interpolation="nearest"
        )
        axis.set_xticks([0, picture.width])
        axis.set_yticks([0, picture.height])
        axis.tick_params(labelsize=7)
        if picture.titles:
            axis.set_title(picture.titles[number], fontsize=9)
    bar = figure.colorbar(image, ax=axes, shrink=0.9, aspect=30, pad=0.02)
    bar.set_label(picture.measure, fontsize=8)
    bar.ax.tick_params(labelsize=7)
