"""Training curves as Mermaid charts, which GitHub draws from text, so that no image is uploaded.

Titles and axes are constants and the lines are numbers, so that no text from a file enters a chart.
See https://mermaid.js.org/syntax/xyChart.html. An xychart has no legend; a line below it names the colors.
"""

from collections.abc import Mapping, Sequence

from visiongate.records.history import EpochMetrics
from visiongate.review.markdown import Markdown, code, fence, render_value
from visiongate.review.snapshot import Snapshot

MAX_POINTS = 40
# Mermaid reads no exponents, and a larger loss is not readable.
MAX_VALUE = 1e6
COLORS = {"#1f77b4": "🔵", "#ff7f0e": "🟠", "#7f7f7f": "⚫"}
UNITS = {"loss": "cross-entropy", "accuracy": "accuracy"}
Curves = Mapping[str, Sequence[float]]


def training_charts(current: Snapshot, base: Snapshot | None) -> list[Markdown]:
    """Return a chart of the loss and one of the accuracy, with the base's validation curve if it has as many epochs."""
    if not current.history:
        return []
    epochs, charts = [epoch.epoch for epoch in current.history], []
    for kind, unit in UNITS.items():
        names = {f"train_{kind}": "training", f"val_{kind}": "validation"}
        curves = {title: _curve(current.history, name) for name, title in names.items()}
        before = _curve((base and base.history) or (), f"val_{kind}")
        if base and len(before) == len(epochs) and before != curves["validation"]:
            curves[f"validation of {code(base.name)}"] = before
        charts.append(_chart_or_last(kind, unit, epochs, curves))
    return charts


def _curve(history: Sequence[EpochMetrics], name: str) -> list[float]:
    return [float(getattr(epoch, name)) for epoch in history]


def _chart_or_last(kind: str, unit: str, epochs: Sequence[int], curves: Curves) -> Markdown:
    last = ", ".join(f"{name} {render_value(line[-1])}" for name, line in curves.items())
    drawable = all(abs(value) <= MAX_VALUE for line in (epochs, *curves.values()) for value in line)
    if not drawable or len(epochs) == 1:
        return Markdown(f"{unit.capitalize()} in the last of {len(epochs):,} epochs: {last}.")
    legend = " ".join(f"{mark} {name}" for mark, name in zip(COLORS.values(), curves, strict=False))
    return Markdown(f"{_draw(kind, unit, epochs, curves)}\n\n{legend}; last: {last}.")


def _draw(kind: str, unit: str, epochs: Sequence[int], curves: Curves) -> Markdown:
    count = min(len(epochs), MAX_POINTS)
    kept = [round(index * (len(epochs) - 1) / (count - 1)) for index in range(count)]
    values = [value for line in curves.values() for value in line]
    low, high = min(0.0, *values), max(values)
    lines = [f"    line [{', '.join(_plain(line[index]) for index in kept)}]" for line in curves.values()]
    chart = [
        f'%%{{init: {{"themeVariables": {{"xyChart": {{"plotColorPalette": "{", ".join(COLORS)}"}}}}}}}}%%',
        "xychart-beta",
        f'    title "{kind.capitalize()} by epoch"',
        f'    x-axis "epoch" {min(epochs)} --> {max(*epochs, min(epochs) + 1)}',
        f'    y-axis "{unit}" {_plain(low)} --> {_plain(high if high > low else low + 1)}',
        *lines,
    ]
    return fence("\n".join(chart), "mermaid")


def _plain(value: float) -> str:
    """Return a number without an exponent."""
    return f"{value:.6f}".rstrip("0").rstrip(".")
