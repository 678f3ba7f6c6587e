"""Where the marks of the figures in the report lie: pure geometry, which a template draws as SVG."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from visiongate.monitoring.calibration import Calibration
from visiongate.monitoring.report import HourCount, PerformanceReport
from visiongate.monitoring.titles import title_of

# Of a figure, in units of its own.
WIDTH: Final = 600
HEIGHT: Final = 150
GAP: Final = 0.15
# More bars would be thinner than two pixels of a phone.
MAX_BARS: Final = 120
# Versions that have a color; the latest ones.
MAX_PARTS: Final = 4
HOUR: Final = timedelta(hours=1)
MIN_HOURS: Final = 24


@dataclass(frozen=True, slots=True)
class Bar:
    """A rectangle, with its text; `part` numbers its color."""

    x: float
    y: float
    width: float
    height: float
    text: str
    part: int = 0


@dataclass(frozen=True, slots=True)
class Volume:
    """Predictions over time: bars, the versions by color from 1, what the axis says, and the figure in words."""

    bars: tuple[Bar, ...]
    parts: tuple[str, ...]
    axis: tuple[str, str, str]
    words: str


@dataclass(frozen=True, slots=True)
class Point:
    """A bin of the calibration: the place of the accuracy and of its interval, and its text."""

    x: float
    y: float
    low: float
    high: float
    text: str


def draw_volume(report: PerformanceReport) -> Volume:
    """Return the answers over time, by version."""
    # In an order that does not change, so that a version keeps its color.
    shown = sorted([each for each in report.models if not each.shadow][:MAX_PARTS], key=title_of)
    start, hours, number = _divide_time(report)
    totals = _count(report.by_hour, start, hours, number)
    parts = [_count(each.by_hour, start, hours, number) for each in shown]
    # What has no color of its own.
    parts.append([total - sum(part[index] for part in parts) for index, total in enumerate(totals)])
    most, names = max(1, *totals), [title_of(each) for each in shown]
    clock = [f"{start + index * hours * HOUR:%b %d, %H:%M}" for index in range(number)]
    bars: list[Bar] = []
    for index, when in enumerate(clock):
        top = float(HEIGHT)
        for part, counts in enumerate(parts):
            if counts[index] > 0:
                height = HEIGHT * counts[index] / most
                top -= height
                name = f", {names[part]}" if part < len(names) else ""
                place = (index + GAP / 2) * WIDTH / number, top, (1 - GAP) * WIDTH / number, height
                color = (part + 1) % len(parts)
                bars.append(Bar(*place, f"{when}{name}: {counts[index]:,} answers", color))
    unit = "an hour" if hours == 1 else f"{hours} hours"
    words = f"{sum(totals):,} answers since {clock[0]}; at most {most:,} in {unit}"
    return Volume(tuple(bars), tuple(names), (clock[0], f"at most {most:,} in {unit}", clock[-1]), words)


def draw_confidences(counts: Sequence[int]) -> tuple[Bar, ...]:
    """Return the bars of predictions by confidence."""
    most, width = max(1, *counts), WIDTH / len(counts)
    return tuple(
        Bar(
            (index + GAP / 2) * width,
            HEIGHT - HEIGHT * count / most,
            (1 - GAP) * width,
            HEIGHT * count / most,
            f"{index / len(counts):.0%} to {(index + 1) / len(counts):.0%}: {count:,} predictions",
        )
        for index, count in enumerate(counts)
        if count
    )


def draw_calibration(calibration: Calibration) -> tuple[Point, ...]:
    """Return the accuracy of each bin over its mean confidence."""
    return tuple(
        Point(
            WIDTH * each.confidence,
            HEIGHT * (1 - each.accuracy.value),
            HEIGHT * (1 - each.accuracy.low),
            HEIGHT * (1 - each.accuracy.high),
            f"confidence {each.confidence:.0%}: {each.accuracy.value:.0%} of {each.labeled:,} right, "
            f"{each.accuracy.low:.0%} to {each.accuracy.high:.0%}",
        )
        for each in calibration.bins
    )


def _divide_time(report: PerformanceReport) -> tuple[datetime, int, int]:
    """Return the start of the first bar, the hours of each, and how many there are: at least those of a day."""
    first = report.by_hour[0].hour if report.by_hour else report.until
    start = max(report.since, min(first, report.until - MIN_HOURS * HOUR))
    start = start.replace(minute=0, second=0, microsecond=0)
    total = int((report.until - start) / HOUR) + 1
    hours = -(-total // MAX_BARS)
    return start, hours, -(-total // hours)


def _count(by_hour: Sequence[HourCount], start: datetime, hours: int, number: int) -> list[int]:
    """Return the predictions of each bar."""
    counts = [0] * number
    for each in by_hour:
        counts[min(int((each.hour - start) / HOUR) // hours, number - 1)] += each.predictions
    return counts
