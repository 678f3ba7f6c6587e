"""The history of decisions in the database of the prediction log: rollouts, and checks whether to train again."""

import json
from typing import Any

from sqlalchemy import Engine, Select, delete, insert, select

from visiongate.monitoring.decision_report import (
    APPLIED,
    VERDICTS,
    DecisionKind,
    DecisionReport,
    LatestDecision,
)
from visiongate.monitoring.tables import decisions
from visiongate.monitoring.times import AHEAD_US, DAY_US, latest_us


def record_decision(engine: Engine, report: DecisionReport, days: int) -> None:
    """Record a decision, and delete those of its kind that are older than a number of days, or of a clock that was ahead.

    Raises:
        SQLAlchemyError: The database cannot be written.
    """
    time_us = round(report.checked_at.timestamp() * 1e6)
    values = {
        "time_us": time_us,
        "kind": report.kind,
        "verdict": report.verdict,
        "report": report.model_dump_json(),
    }
    kept = decisions.c.time_us.between(time_us - days * DAY_US, time_us + AHEAD_US)
    with engine.begin() as connection:
        connection.execute(insert(decisions).values(values))
        connection.execute(delete(decisions).where(decisions.c.kind == report.kind, ~kept))


def read_decisions(engine: Engine, kind: DecisionKind, limit: int) -> list[str]:
    """Return the latest decisions of a kind in JSON, the latest first.

    Raises:
        SQLAlchemyError: The database cannot be read.
    """
    with engine.connect() as connection:
        return list(connection.scalars(_latest(kind, decisions.c.report).limit(limit)))


def read_latest_decisions(engine: Engine) -> tuple[LatestDecision, ...]:
    """Return the latest decision of each kind that has one.

    Raises:
        SQLAlchemyError: The database cannot be read.
    """
    columns = (decisions.c.time_us, decisions.c.verdict, decisions.c.report)
    found = []
    with engine.connect() as connection:
        for kind in VERDICTS:
            row = connection.execute(_latest(kind, *columns).limit(1)).one_or_none()
            if row is not None:
                verdict = APPLIED if json.loads(row.report).get("applied") else row.verdict
                found.append(LatestDecision(kind, verdict, row.time_us / 1e6))
    return tuple(found)


def _latest(kind: DecisionKind, *columns: Any) -> Select[Any]:  # noqa: ANN401 - columns of the table
    past = decisions.c.time_us <= latest_us()
    return select(*columns).where(decisions.c.kind == kind, past).order_by(decisions.c.time_us.desc())
