"""``visiongate performance``: how good the answers in the prediction log were, as a table, as JSON, and as a page.

It needs the prediction log only, neither the service nor a model.
"""

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from visiongate import paths
from visiongate.commands.opened_log import open_log
from visiongate.monitoring.history import read_history
from visiongate.monitoring.report import Performance, PerformanceReport, make_report
from visiongate.monitoring.scores import SampledScores, Scores
from visiongate.monitoring.standing import Standing
from visiongate.monitoring.standing_store import read_standing
from visiongate.monitoring.titles import title_of
from visiongate.records.files import write_text
from visiongate.records.interval import Interval
from visiongate.settings.serving_environment import load_serving
from visiongate.text_tables import format_table

# On the terminal, those with the most predictions.
MAX_CLASSES: Final = 30
UNKNOWN: Final = "-"
VERSION_COLUMNS: Final = (
    "version",
    "predictions",
    "random sample",
    "replies",
    "volunteered",
    "p50",
    "p95",
    "p99",
)
CLASS_COLUMNS: Final = ("class", "predicted", "feedback", "precision", "recall", "F1")


def run(
    hours: int | None, model: str | None, version: str | None, json_file: Path | None, html_file: Path | None
) -> int:
    """Print the performance, and write it to files.

    Raises:
        SettingsError: A setting is invalid, or there is no prediction log.
        LogUnavailableError: The database cannot be used.
    """
    log = load_serving(paths.PARAMS, os.environ).serving.log
    until = datetime.now(UTC)
    since = until - timedelta(hours=hours or log.window_hours)
    with open_log(log) as database:
        history = read_history(database.engine, round(since.timestamp() * 1e6), model, version)
        standing = read_standing(database.engine)
    report = make_report(since, until, history)
    print(_render(report))
    if json_file is not None:
        write_text(json_file, report.model_dump_json(indent=2) + "\n")
    if html_file is not None:
        write_text(html_file, _render_page(report, standing))
    return 0


def _render_page(report: PerformanceReport, standing: Standing) -> str:
    # Importing jinja2 takes a moment.
    from visiongate.monitoring.page import render_report  # noqa: PLC0415

    return render_report(report, standing)


def _render(report: PerformanceReport) -> str:
    period = f"{report.since:%Y-%m-%d %H:%M} to {report.until:%Y-%m-%d %H:%M} UTC"
    if not report.models:
        return f"No prediction was recorded from {period}."
    rows = [_version_row(title_of(each), each) for each in report.models]
    if len(report.models) > 1:
        rows.append(_version_row("all answers", report.all))
    parts = [
        f"{period}, with {report.confidence_level:.0%} intervals",
        format_table(VERSION_COLUMNS, rows, None),
        *_describe_feedback(report.all),
        format_table(CLASS_COLUMNS, _class_rows(report.all), None),
    ]
    return "\n\n".join(parts)


def _version_row(title: str, found: Performance) -> list[str]:
    latency, sampled = found.latency_ms, found.sampled
    replies = f"{sampled.labeled:,}" if sampled.asked is None else f"{sampled.labeled:,} of {sampled.asked:,}"
    times = (latency.p50, latency.p95, latency.p99) if latency else ()
    return [
        title,
        f"{found.predictions:,}",
        _interval(sampled.accuracy),
        replies,
        _interval(found.volunteered.accuracy),
        *([f"{each:.3g} ms" for each in times] or [UNKNOWN] * 3),
    ]


def _describe_feedback(found: Performance) -> list[str]:
    lines = []
    for name, scores in (("random sample", found.sampled), ("volunteered", found.volunteered)):
        if scores.labeled:
            lines += [f"{name}: {each}" for each in _describe_scores(scores)]
    if not lines:
        return ["There is no feedback yet."]
    lines.append(
        "Volunteered feedback is no random sample: people report mistakes more often than they confirm."
    )
    return ["\n".join(lines)]


def _describe_scores(scores: Scores) -> list[str]:
    lines = []
    if isinstance(scores, SampledScores) and scores.worst is not None and scores.best is not None:
        lines.append(
            f"{_interval(scores.response_rate)} of those who were asked replied; whatever the others would have said, the "
            f"accuracy on the sample is between {scores.worst:.1%} and {scores.best:.1%}"
        )
        if scores.calibration is not None:
            lines.append(f"calibration error {_interval(scores.calibration.ece)}")
    if scores.images < scores.labeled:
        lines.append(f"{scores.labeled:,} answers about {scores.images:,} different images")
    if scores.others is not None:
        rest = _interval(scores.others.accuracy)
        lines.append(
            f"{scores.givers} API keys; the most active one gave {scores.others.removed:,} of {scores.labeled:,}, and "
            f"without it the accuracy is {rest}"
        )
    return lines


def _class_rows(found: Performance) -> Sequence[Sequence[str]]:
    scores = found.sampled if found.accuracy_from == "sampled" else found.feedback
    known = {each.name: each for each in scores.classes}
    classes = sorted(found.feedback.classes, key=lambda each: -each.predicted)
    rows = []
    for each in classes[:MAX_CLASSES]:
        of = known.get(each.name)
        shares = (of.precision, of.recall, of.f1) if of else (None, None, None)
        rows.append(
            [each.name, f"{each.predicted:,}", f"{of.labeled if of else 0:,}", *map(_interval, shares)]
        )
    if len(classes) > MAX_CLASSES:
        rows.append([f"and {len(classes) - MAX_CLASSES:,} more", *[""] * (len(CLASS_COLUMNS) - 1)])
    return rows


def _interval(share: Interval | None) -> str:
    return UNKNOWN if share is None else f"{share.value:.1%} ({share.low:.1%} to {share.high:.1%})"
