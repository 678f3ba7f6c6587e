"""``visiongate drift``: compare recent predictions with the first ones of the same version, and record the result.

It needs the prediction log only, neither the service nor a model.
"""

import os
from datetime import datetime
from pathlib import Path
from typing import Final

from visiongate import paths
from visiongate.errors import SettingsError
from visiongate.monitoring.address import check_address
from visiongate.monitoring.database import Database
from visiongate.monitoring.drift_check import check_drift
from visiongate.monitoring.drift_report import Comparison, DriftReport, ModelDrift, Period, Verdict
from visiongate.monitoring.drift_store import read_candidates, read_latest_report, record_report
from visiongate.monitoring.entries import LogUnavailableError
from visiongate.monitoring.faults import explain_fault
from visiongate.monitoring.times import HOUR_US, now_us
from visiongate.records.files import write_text
from visiongate.settings.serving_environment import Deployment, load_serving

YEAR_HOURS: Final = 365.25 * 24
STATUSES: Final[dict[Verdict, int]] = {"no drift": 0, "drift": 1, "cannot say": 2}


def run(window: float | None, level: float | None, json_file: Path | None) -> int:
    """Print the result, and return 0 without drift, 1 with drift, and 2 if there are too few predictions.

    Raises:
        SettingsError: A setting is invalid, or there is no prediction log.
        LogUnavailableError: The database cannot be used.
    """
    options = {"monitoring.drift.window_hours": window, "monitoring.drift.yearly_level": level}
    given = {name: value for name, value in options.items() if value is not None}
    report = _check(load_serving(paths.PARAMS, os.environ, given))
    print(_render(report))
    if json_file is not None:
        write_text(json_file, report.model_dump_json(indent=2) + "\n")
    return STATUSES[report.verdict]


def _check(settings: Deployment) -> DriftReport:
    log, drift = settings.serving.log, settings.monitoring.drift
    if not log.enabled:
        raise SettingsError(
            "serving.log.enabled = false: there is no prediction log to read; set it to true for the service"
        )
    check_address(log.address)
    since_us = now_us() - round(drift.window_hours * HOUR_US)
    try:
        database = Database(log.address, create=False)
        try:
            candidates = read_candidates(database.engine, since_us, drift.reference)
            earlier = read_latest_report(database.engine)
            level = drift.yearly_level * drift.window_hours / YEAR_HOURS
            report = check_drift(candidates, drift.window_hours, level, earlier)
            record_report(database.engine, report, log.days)
        finally:
            database.close()
    except SettingsError:
        raise
    except Exception as error:
        # Whatever a database or its driver raises.
        raise LogUnavailableError(explain_fault(error)) from error
    return report


def _render(report: DriftReport) -> str:
    lines = [line for model in report.models for line in _render_model(model)]
    if not report.models:
        lines = [f"No prediction was recorded in the last {report.hours:g} hours."]
    return "\n".join([*lines, f"{report.verdict}: {report.advice}"])


def _render_model(model: ModelDrift) -> list[str]:
    lines = [f"{model.name} {model.version or model.sha256[:12]}: {model.verdict}"]
    if not model.comparisons:
        lines.append(f"  {model.advice}")
    lines += [f"  {_render_comparison(each)}" for each in model.comparisons]
    return [
        *lines,
        f"  reference: {_render_period(model.reference)}",
        f"  window: {_render_period(model.window)}",
    ]


def _render_comparison(comparison: Comparison) -> str:
    verdict = f"drift since {_render_time(comparison.since)}" if comparison.drifted else "no drift"
    return (
        f"{comparison.check}: {verdict} (p = {comparison.p_value:.2g}, distance {comparison.distance:.3f}): "
        f"{comparison.what}"
    )


def _render_period(period: Period) -> str:
    text = f"{period.predictions:,} predictions"
    if period.compared < period.predictions:
        text += f", of which {period.compared:,} are compared"
    return (
        f"{text}, {_render_time(period.first)} to {_render_time(period.last)}" if period.predictions else text
    )


def _render_time(time: datetime | None) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC" if time else "?"
