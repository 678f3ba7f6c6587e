"""Curves as charts that GitHub draws itself, out of text: nothing is uploaded anywhere.

Mermaid's xychart (https://mermaid.js.org/syntax/xyChart.html): its titles and axes are ours and its lines are numbers, so that
no text of a stranger gets into it. It has no legend: the colors are named below.
"""

from collections.abc import Mapping, Sequence

from visiongate.review.report.markdown import code, fence, figure
from visiongate.review.report.snapshot import Course, Snapshot

MOST_POINTS = 40
LARGEST = 1e6  # beyond it a chart shows nothing, and Mermaid reads no exponents
COLORS = {"#1f77b4": "🔵", "#ff7f0e": "🟠", "#7f7f7f": "⚫"}
CHARTS = (("loss", "cross-entropy"), ("accuracy", "accuracy"))


def draw_course(now: Snapshot, base: Snapshot | None) -> str:
    """Draw loss and accuracy by epoch, beside the validation of the base where it has as many epochs."""
    if now.course is None or not now.course.epochs:
        return ""
    before = base.course if base is not None else None
    charts = [_draw(kind, unit, now.course, before, base) for kind, unit in CHARTS]
    return "\n\n".join(chart for chart in charts if chart)


def _draw(kind: str, unit: str, course: Course, before: Course | None, base: Snapshot | None) -> str:
    lines = {
        name: course.curves[f"{split}_{kind}"]
        for split, name in _SPLITS.items()
        if f"{split}_{kind}" in course.curves
    }
    same = before is not None and list(before.epochs) == list(course.epochs) and before != course
    if before is not None and same and base is not None and f"val_{kind}" in before.curves:
        lines[f"validation of {code(base.name)}"] = before.curves[f"val_{kind}"]
    if not lines:
        return ""
    odd = sum(not abs(value) <= LARGEST for line in (course.epochs, *lines.values()) for value in line)
    last = ", ".join(f"{name} {_last(line)}" for name, line in lines.items())
    if odd or len(course.epochs) < 2:  # noqa: PLR2004 - a line takes two points
        told = f"; not drawn, for {odd:,} values are no numbers that a chart can show" if odd else ""
        return f"{unit.capitalize()} in the last of {len(course.epochs):,} epochs: {last}{told}."
    legend = " ".join(f"{mark} {name}" for mark, name in zip(COLORS.values(), lines, strict=False))
    return f"{_chart(kind, unit, course.epochs, lines)}\n\n{legend}; last: {last}."


_SPLITS = {"train": "training", "val": "validation"}


def _last(line: Sequence[float]) -> str:
    return figure(line[-1])


def _chart(kind: str, unit: str, epochs: Sequence[int], lines: Mapping[str, Sequence[float]]) -> str:
    kept = _thin(len(epochs))
    values = [value for line in lines.values() for value in line]
    low, high = min(0.0, *values), max(values)
    palette = ", ".join(COLORS)
    return fence(
        "\n".join(
            [
                f'%%{{init: {{"themeVariables": {{"xyChart": {{"plotColorPalette": "{palette}"}}}}}}}}%%',
                "xychart-beta",
                f'    title "{kind.capitalize()} by epoch"',
                f'    x-axis "epoch" {min(epochs)} --> {max(*epochs, min(epochs) + 1)}',
                f'    y-axis "{unit}" {_plain(low)} --> {_plain(high if high > low else low + 1)}',
                *(
                    f"    line [{', '.join(_plain(line[index]) for index in kept)}]"
                    for line in lines.values()
                ),
            ]
        ),
        "mermaid",
    )


def _thin(count: int) -> list[int]:
    """Choose at most so many of them, evenly, both ends kept."""
    most = min(count, MOST_POINTS)
    return [round(index * (count - 1) / (most - 1)) for index in range(most)]


def _plain(value: float) -> str:
    """Write a number without an exponent."""
    return f"{value:.6f}".rstrip("0").rstrip(".")
