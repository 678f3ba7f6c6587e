"""The recorded predictions of a time window, counted by the database."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Connection, Engine, Integer, Select, case, cast, func, select

from visiongate.monitoring.entries import LoggedModel
from visiongate.monitoring.performance import Tally
from visiongate.monitoring.tables import feedback, models, predictions
from visiongate.monitoring.times import HOUR_US

# Percentiles are of the latest predictions: reading these takes 0.2 s.
MAX_LATENCIES = 100_000
_SHADOW = predictions.c.shadow_of.is_not(None)
_ROLE = (predictions.c.model_id, _SHADOW.label("shadow"))
# A model's number, and whether its predictions were made beside an answer.
Role = tuple[int, bool]


@dataclass(frozen=True, slots=True)
class ModelHistory:
    """The predictions of a model in one role.

    Attributes:
        model: The model.
        shadow: Whether the predictions were made beside an answer, and answered nothing.
        tally: Their counts. Feedback on an answer counts for the predictions beside it.
    """

    model: LoggedModel
    shadow: bool
    tally: Tally


@dataclass(frozen=True, slots=True)
class History:
    """What was predicted in a time window.

    Attributes:
        models: By model and role, the latest first.
        by_hour: Answered predictions by the start of the hour, in microseconds since 1970, without empty hours.
    """

    models: tuple[ModelHistory, ...]
    by_hour: dict[int, int]


def read_history(engine: Engine, since_us: int, name: str | None, version: str | None) -> History:
    """Count the predictions since a time.

    Args:
        engine: Of the database.
        since_us: Microseconds since 1970.
        name: Of the models to count; None for all.
        version: Of the models to count; None for all.

    Raises:
        SQLAlchemyError: The database cannot be read.
    """
    with engine.connect() as connection:
        selected = predictions.c.time_us >= since_us
        if name is not None:
            selected &= predictions.c.model_id.in_(select(models.c.model_id).where(models.c.name == name))
        if version is not None:
            selected &= predictions.c.model_id.in_(
                select(models.c.model_id).where(models.c.version == version)
            )
        tallies = _read_tallies(connection, selected)
        _add_feedback(connection, selected, tallies)
        _add_latencies(connection, selected, tallies)
        by_hour = _read_hours(connection, selected)
        # After the predictions: a model that was added meanwhile is among them.
        known = read_models(connection)
    histories = [ModelHistory(known[number], shadow, tally) for (number, shadow), tally in tallies.items()]
    histories.sort(key=lambda history: history.tally.last_us or 0, reverse=True)
    return History(tuple(histories), by_hour)


def read_models(connection: Connection) -> dict[int, LoggedModel]:
    """Return the models of the log by their number.

    Raises:
        SQLAlchemyError: The database cannot be read.
    """
    return {
        row.model_id: LoggedModel(row.name, row.version or None, row.sha256, tuple(json.loads(row.classes)))
        for row in connection.execute(select(models))
    }


def _read_tallies(connection: Connection, selected: Any) -> dict[Role, Tally]:  # noqa: ANN401 - an expression of SQL
    columns = predictions.c
    counted = select(
        *_ROLE,
        columns.predicted,
        func.count().label("predictions"),
        func.min(columns.time_us).label("first_us"),
        func.max(columns.time_us).label("last_us"),
        func.sum(columns.confidence).label("confidence"),
        # The error rate of a sure answer holds for images like the training images only.
        *_share("sure", case((columns.out_of_distribution, False), else_=columns.sure)),
        *_share("unlike", columns.out_of_distribution),
        func.sum(columns.total_ms).label("total_ms"),
    ).where(selected)
    tallies: dict[Role, Tally] = {}
    for row in connection.execute(counted.group_by(*_ROLE, columns.predicted)):
        part = Tally(
            Counter({row.predicted: row.predictions}),
            row.first_us,
            row.last_us,
            row.confidence,
            row.sure or 0,
            row.sure_known,
            row.unlike or 0,
            row.unlike_known,
            row.total_ms,
        )
        tallies.setdefault((row.model_id, bool(row.shadow)), Tally()).add(part)
    return tallies


def _share(name: str, column: Any) -> Sequence[Any]:  # noqa: ANN401 - expressions of SQL
    return func.sum(cast(column, Integer)).label(name), func.count(column).label(f"{name}_known")


def _add_feedback(connection: Connection, selected: Any, tallies: dict[Role, Tally]) -> None:  # noqa: ANN401
    for key in (predictions.c.prediction_id, predictions.c.shadow_of):
        pair = (predictions.c.predicted, feedback.c.label)
        counted = (
            select(*_ROLE, *pair, func.count().label("predictions"))
            .select_from(feedback.join(predictions, key == feedback.c.prediction_id))
            .where(selected)
            .group_by(*_ROLE, *pair)
        )
        for row in connection.execute(counted):
            # A prediction that was written after the tallies were read has none.
            if tally := tallies.get((row.model_id, bool(row.shadow))):
                tally.confirmed[row.label, row.predicted] = row.predictions


def _add_latencies(connection: Connection, selected: Any, tallies: dict[Role, Tally]) -> None:  # noqa: ANN401
    latest: Select[Any] = select(*_ROLE, predictions.c.total_ms).where(selected)
    latest = latest.order_by(predictions.c.time_us.desc()).limit(MAX_LATENCIES)
    values: dict[Role, list[float]] = {}
    for number, shadow, total_ms in connection.execute(latest):
        values.setdefault((number, bool(shadow)), []).append(total_ms)
    for role in values.keys() & tallies.keys():
        tallies[role].latencies = np.array(values[role])


def _read_hours(connection: Connection, selected: Any) -> dict[int, int]:  # noqa: ANN401
    hour = (predictions.c.time_us // HOUR_US).label("hour")
    counted = select(hour, func.count()).where(selected, ~_SHADOW).group_by(hour).order_by(hour)
    return {hour * HOUR_US: count for hour, count in connection.execute(counted)}
