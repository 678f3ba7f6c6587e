"""Read where the models stand from the database of the prediction log."""

import json
from typing import Any

from sqlalchemy import Engine, Table, select

from visiongate.monitoring.standing import MAX_CHECKS, MAX_DECISIONS, CheckVerdict, Decision, Standing
from visiongate.monitoring.tables import decisions, drift_checks
from visiongate.monitoring.times import latest_us, to_datetime


def read_standing(engine: Engine) -> Standing:
    """Read the latest checks and decisions.

    Raises:
        SQLAlchemyError: The database cannot be read.
    """
    with engine.connect() as connection:
        checks = connection.execute(_latest(drift_checks, MAX_CHECKS, "time_us", "verdict")).all()
        report = connection.scalar(_latest(drift_checks, 1, "report"))
        decided = connection.execute(
            _latest(decisions, MAX_DECISIONS, "time_us", "kind", "verdict", "report")
        ).all()
    return Standing(
        drift=None if report is None else json.loads(report),
        checks=[CheckVerdict(time=to_datetime(row.time_us), verdict=row.verdict) for row in checks],
        decisions=[
            Decision(
                time=to_datetime(row.time_us),
                kind=row.kind,
                verdict=row.verdict,
                report=json.loads(row.report),
            )
            for row in decided
        ],
    )


def _latest(table: Table, rows: int, *columns: str) -> Any:  # noqa: ANN401 - an expression of SQL
    chosen = select(*(table.c[name] for name in columns)).where(table.c.time_us <= latest_us())
    return chosen.order_by(table.c.time_us.desc(), *(key.desc() for key in table.primary_key)).limit(rows)
