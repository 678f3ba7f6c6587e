"""The drift checks in the database of the prediction log."""

from sqlalchemy import Engine, insert, select

from visiongate.monitoring.drift_report import DriftReport
from visiongate.monitoring.tables import drift_checks


def read_latest_report(engine: Engine) -> DriftReport | None:
    """Return the latest check; None if there is none.

    Raises:
        SQLAlchemyError: The database cannot be read.
        ValidationError: The record is of another version of this program.
    """
    latest = select(drift_checks.c.report).order_by(drift_checks.c.time_us.desc()).limit(1)
    with engine.connect() as connection:
        report = connection.scalar(latest)
    return None if report is None else DriftReport.model_validate_json(report)


def record_report(engine: Engine, report: DriftReport) -> None:
    """Record a check.

    Raises:
        SQLAlchemyError: The database cannot be written.
    """
    time_us = round(report.checked_at.timestamp() * 1e6)
    values = {"time_us": time_us, "verdict": report.verdict, "report": report.model_dump_json()}
    with engine.begin() as connection:
        connection.execute(insert(drift_checks).values(values))
