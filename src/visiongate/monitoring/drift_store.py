"""Drift checks in the database of the prediction log: the samples that are compared, and the results."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from sqlalchemy import Connection, Engine, delete, func, insert, select

from visiongate.monitoring.drift import Sample
from visiongate.monitoring.drift_check import Candidate
from visiongate.monitoring.drift_report import DriftReport
from visiongate.monitoring.history import read_models
from visiongate.monitoring.tables import drift_checks, first_predictions, insert_into, predictions
from visiongate.monitoring.times import DAY_US

# Of a window. More would find differences that do not matter.
MAX_WINDOW: Final = 20_000
_TIME = predictions.c.time_us
_SAMPLED = (predictions.c.predicted, predictions.c.confidence, _TIME)


def read_candidates(engine: Engine, since_us: int, wanted: int) -> list[Candidate]:
    """Return the versions that answered since a time; the one with the latest answer is the first.

    A reference that has become whole is recorded, and used from then on.

    Args:
        engine: Of the database.
        since_us: Start of the window, in microseconds since 1970.
        wanted: Predictions of a reference.

    Raises:
        SQLAlchemyError: The database cannot be read or written.
    """
    recent = select(predictions.c.model_id).where(since_us <= _TIME, predictions.c.shadow_of.is_(None))
    with engine.begin() as connection:
        numbers = connection.scalars(
            recent.group_by(predictions.c.model_id).order_by(func.max(_TIME).desc())
        ).all()
        known = read_models(connection)
        candidates = []
        for number in numbers:
            reference, needed = _find_reference(connection, number, wanted)
            start = since_us if reference.last_us is None else max(since_us, reference.last_us + 1)
            candidates.append(
                Candidate(known[number], reference, _read_window(connection, number, start), needed)
            )
    return candidates


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


def record_report(engine: Engine, report: DriftReport, days: int) -> None:
    """Record a check, and delete those that are older than a number of days.

    Raises:
        SQLAlchemyError: The database cannot be written.
    """
    time_us = round(report.checked_at.timestamp() * 1e6)
    values = {"time_us": time_us, "verdict": report.verdict, "report": report.model_dump_json()}
    with engine.begin() as connection:
        connection.execute(insert(drift_checks).values(values))
        connection.execute(delete(drift_checks).where(drift_checks.c.time_us < time_us - days * DAY_US))


def _find_reference(connection: Connection, number: int, wanted: int) -> tuple[Sample, int]:
    """Return the reference of a version, and how many predictions it needs."""
    recorded = select(first_predictions).where(first_predictions.c.model_id == number)
    if row := connection.execute(recorded).one_or_none():
        confidences = np.frombuffer(row.confidences, "<f4").astype(np.float64)
        classes = Counter(json.loads(row.classes))
        # Whole, also if the setting has changed since.
        return Sample(classes, confidences, row.first_us, row.last_us, len(confidences)), len(confidences)
    first = select(*_SAMPLED).where(_answers_of(number)).order_by(_TIME).limit(wanted)
    rows = connection.execute(first).all()
    reference = _sample(rows, len(rows))
    if len(reference) == wanted:
        _record_reference(connection, number, reference)
    return reference, wanted


def _record_reference(connection: Connection, number: int, reference: Sample) -> None:
    values = {
        "model_id": number,
        "first_us": reference.first_us,
        "last_us": reference.last_us,
        "classes": json.dumps(reference.classes, ensure_ascii=False),
        "confidences": reference.confidences.astype("<f4").tobytes(),
    }
    # Two checks may run at the same time.
    connection.execute(insert_into(connection, first_predictions).values(values).on_conflict_do_nothing())


def _read_window(connection: Connection, number: int, since_us: int) -> Sample:
    """Return the predictions since a time; of many, every second, third or so."""
    selected = _answers_of(number) & (since_us <= _TIME)
    total = connection.scalars(select(func.count()).where(selected)).one()
    step = -(-total // MAX_WINDOW)
    wanted = select(*_SAMPLED).where(selected).order_by(_TIME)
    if step > 1:
        row = func.row_number().over(order_by=_TIME).label("row")
        numbered = select(*_SAMPLED, row).where(selected).subquery()
        wanted = select(numbered).where(numbered.c.row % step == 0).order_by(numbered.c.time_us)
    return _sample(connection.execute(wanted).all(), total)


def _sample(rows: Sequence[Any], total: int) -> Sample:
    confidences = np.array([row.confidence for row in rows], np.float64)
    # As it is recorded, so that a recorded reference gives the same result.
    confidences = confidences.astype(np.float32).astype(np.float64)
    first, last = (rows[0].time_us, rows[-1].time_us) if rows else (None, None)
    return Sample(Counter(row.predicted for row in rows), confidences, first, last, total)


def _answers_of(number: int) -> Any:  # noqa: ANN401 - an expression of SQL
    return (predictions.c.model_id == number) & predictions.c.shadow_of.is_(None)
