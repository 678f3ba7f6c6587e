"""``visiongate drift``: compare recent predictions with a reference of the same version, and record the result.

It needs the prediction log only, neither the service nor a model.
"""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from visiongate import paths
from visiongate.commands.opened_log import open_log
from visiongate.monitoring.drift.check import check_drift
from visiongate.monitoring.drift.report import (
    DriftReport,
    Finding,
    LabelShiftEstimate,
    ModelDrift,
    Period,
    ReferenceSummary,
    Verdict,
)
from visiongate.monitoring.drift.store import read_candidates, read_earlier_report, record_report
from visiongate.monitoring.times import HOUR_US
from visiongate.records.files import write_text
from visiongate.settings.monitoring import Monitoring
from visiongate.settings.serving import PredictionLog
from visiongate.settings.serving_environment import load_serving

STATUSES: Final[dict[Verdict, int]] = {"no drift": 0, "drift": 1, "cannot say": 2}
# Classes whose estimated share has changed most.
SHOWN_CLASSES: Final = 3


def run(window: float | None, level: float | None, json_file: Path | None) -> int:
    """Print the result, and return 0 without drift, 1 with drift, and 2 if there are too few predictions.

    Raises:
        SettingsError: A setting is invalid, or there is no prediction log.
        LogUnavailableError: The database cannot be used.
    """
    options = {"monitoring.drift.window_hours": window, "monitoring.drift.yearly_level": level}
    given = {name: value for name, value in options.items() if value is not None}
    settings = load_serving(paths.PARAMS, os.environ, given)
    report = _check(settings.serving.log, settings.monitoring)
    print(_render(report))
    if json_file is not None:
        write_text(json_file, report.model_dump_json(indent=2) + "\n")
    return STATUSES[report.verdict]


def _check(log: PredictionLog, settings: Monitoring) -> DriftReport:
    now = datetime.now(UTC)
    since_us = round(now.timestamp() * 1e6 - settings.drift.window_hours * HOUR_US)
    with open_log(log) as database:
        candidates = read_candidates(database.engine, since_us, settings.drift)
        report = check_drift(candidates, settings, read_earlier_report(database.engine), now)
        record_report(database.engine, report, log.days)
    return report


def _render(report: DriftReport) -> str:
    lines = [line for model in report.models for line in _render_model(model)]
    if not report.models:
        lines = [f"No prediction was recorded in the last {report.hours:g} hours."]
    return "\n".join([*lines, f"{report.verdict}, harm: {report.harm}: {report.advice}"])


def _render_model(model: ModelDrift) -> list[str]:
    lines = [f"{model.name} {model.version or model.sha256[:12]}: {model.verdict}"]
    if model.verdict == "cannot say":
        lines.append(f"  {model.advice}")
    lines += [f"  {cause}" for cause in model.causes]
    lines += [f"  {_render_finding(each)}" for each in model.findings]
    quiet = [each.test for each in model.tests if not each.drifted]
    lines += [f"  no drift: {', '.join(quiet)}"] if quiet else []
    if accuracy := model.accuracy:
        lines.append(
            f"  estimated accuracy: {accuracy.value:.1%} ({accuracy.low:.1%} to {accuracy.high:.1%})"
            f"{', without copies of one picture' if model.window.copies else ''}"
            f"{'' if accuracy.reliable else ', and probably lower'}; "
            f"of the held-out images: {accuracy.reference:.1%}"
        )
    # Of hundreds of classes, some intervals miss the share by chance.
    if model.label_shift and any(each.test == "classes" for each in model.findings):
        lines += _render_shift(model.label_shift)
    lines.append(f"  reference: {_render_reference(model.reference)}")
    return [*lines, f"  window: {_render_period(model.window)}"]


def _render_finding(finding: Finding) -> str:
    since = f"{finding.since:%Y-%m-%d %H:%M} UTC" if finding.since else "?"
    return (
        f"{finding.test} ({finding.severity}, harm: {finding.harm}): since {since}, p = {finding.p_value:.2g}, "
        f"effect {finding.effect:.3f}: {finding.what}"
    )


def _render_shift(shift: LabelShiftEstimate) -> list[str]:
    """Return a line for each class whose share has changed for sure, the largest change first."""
    changed = [each for each in shift.classes if each.changed]
    changed.sort(key=lambda each: -abs(each.share - each.reference))
    return [
        f"  estimated share of {each.name}: {each.share:.1%} ({each.low:.1%} to {each.high:.1%}), {each.reference:.1%} before"
        for each in changed[:SHOWN_CLASSES]
    ]


def _render_reference(reference: ReferenceSummary) -> str:
    text = "none" if reference.origin is None else f"{reference.images:,} {reference.origin}"
    return f"{text}; {reference.missing}" if reference.missing else text


def _render_period(period: Period) -> str:
    text = f"{period.predictions:,} predictions"
    if period.copies:
        text += (
            f", of which {period.copies:,} are copies and {period.compared:,} different images are compared"
        )
    elif period.compared < period.predictions:
        text += f", of which {period.compared:,} different images are compared"
    if period.first is None or period.last is None:
        return text
    return f"{text}, {period.first:%Y-%m-%d %H:%M} to {period.last:%Y-%m-%d %H:%M} UTC"
