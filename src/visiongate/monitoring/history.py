"""The recorded predictions of a time window, counted by the database."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Connection, Engine, Integer, Select, case, cast, func, select, true
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from visiongate.monitoring.address import POSTGRESQL
from visiongate.monitoring.calibration import BINS
from visiongate.monitoring.entries import LoggedModel
from visiongate.monitoring.tables import feedback, models, predictions
from visiongate.monitoring.tally import Cell, Floats, Repeats, Tally, Voice
from visiongate.monitoring.times import HOUR_US, MINUTE_US

# Percentiles are of the latest predictions: reading these takes 0.2 s.
MAX_LATENCIES = 100_000
# Of a version that has fewer among them, so many are read.
ENOUGH_LATENCIES = 10_000


class _WholePart(FunctionElement[int]):
    """The whole part of a number that is not negative."""

    name = "whole_part"
    inherit_cache = True
    type = Integer()


@compiles(_WholePart)
def _truncate(element: _WholePart, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401
    return f"CAST({compiler.process(element.clauses, **options)} AS INTEGER)"


@compiles(_WholePart, POSTGRESQL)
def _round_down(element: _WholePart, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401
    # Its CAST would round.
    return f"CAST(floor({compiler.process(element.clauses, **options)}) AS INTEGER)"


# A confidence of 1 has a bin of its own here.
_BIN = _WholePart(predictions.c.confidence * BINS).label("bin")
_SHADOW = predictions.c.shadow_of.is_not(None)
_ROLE = (predictions.c.model_id, _SHADOW.label("shadow"))
# Feedback belongs to its prediction, and to those that were made beside it. SQLite would look for the feedback of each
# prediction, by the index of the former; to look for the prediction of each feedback takes a tenth. Expressions have no index.
_FEEDBACK_ID = feedback.c.prediction_id.concat("")
_ANSWERED = predictions.c.prediction_id == _FEEDBACK_ID
_BESIDE = predictions.c.shadow_of == _FEEDBACK_ID
# A model's number, and whether its predictions were made beside an answer.
Role = tuple[int, bool]


@dataclass(frozen=True, slots=True)
class ModelHistory:
    """The predictions of a model in one role.

    Attributes:
        model: The model.
        shadow: Whether the predictions were made beside an answer, and answered nothing.
        tally: Their counts. Feedback on an answer counts for the predictions beside it.
        by_hour: Predictions by the start of the hour, in microseconds since 1970, without empty hours.
        latencies: Of its latest predictions, in milliseconds. Those of the tally are only the ones among the latest of all
            models, so that tallies can be added.
    """

    model: LoggedModel
    shadow: bool
    tally: Tally
    by_hour: dict[int, int]
    latencies: Floats


@dataclass(frozen=True, slots=True)
class History:
    """What was predicted in a time window, by model and role, the latest first."""

    models: tuple[ModelHistory, ...]


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
        selected = _select_window(since_us, name, version)
        tallies = _read_tallies(connection, selected)
        _add_feedback(connection, _select_feedback(since_us, name, version), tallies)
        _add_latencies(connection, selected, tallies)
        latencies = {role: _read_latencies(connection, selected, role, tallies[role]) for role in tallies}
        hours = _read_hours(connection, selected)
        # After the predictions: a model that was added meanwhile is among them.
        known = read_models(connection)
    histories = [
        ModelHistory(known[role[0]], role[1], tally, hours.get(role, {}), latencies[role])
        for role, tally in tallies.items()
    ]
    histories.sort(key=lambda history: history.tally.last_us or 0, reverse=True)
    return History(tuple(histories))


def read_feedback(engine: Engine, since_us: int) -> list[tuple[LoggedModel, Tally]]:
    """Count only the feedback on answers since a time: for gauges that are kept up to date.

    It reads no prediction without feedback.

    Raises:
        SQLAlchemyError: The database cannot be read.
    """
    tallies: dict[Role, Tally] = {}
    with engine.connect() as connection:
        selected = _select_feedback(since_us, None, None) & ~_SHADOW
        _count_feedback(connection, selected & _ANSWERED, tallies, missing=True)
        known = read_models(connection)
    return [(known[number], tally) for (number, _), tally in tallies.items()]


def _select_window(since_us: int, name: str | None, version: str | None) -> Any:  # noqa: ANN401 - an expression of SQL
    return (predictions.c.time_us >= since_us) & _select_models(name, version)


def _select_feedback(since_us: int, name: str | None, version: str | None) -> Any:  # noqa: ANN401
    """Select feedback and its predictions. The feedback is not older than the prediction, but clocks differ."""
    given = feedback.c.time_us >= since_us - MINUTE_US
    return given & _select_window(since_us, name, version)


def _select_models(name: str | None, version: str | None) -> Any:  # noqa: ANN401
    selected: ColumnElement[bool] = true()
    for column, value in ((models.c.name, name), (models.c.version, version)):
        if value is not None:
            selected &= predictions.c.model_id.in_(select(models.c.model_id).where(column == value))
    return selected


def read_models(connection: Connection) -> dict[int, LoggedModel]:
    """Return the models of the log by their number.

    Raises:
        SQLAlchemyError: The database cannot be read.
    """
    return {
        row.model_id: LoggedModel(row.name, row.version or None, row.sha256, tuple(json.loads(row.classes)))
        for row in connection.execute(select(models))
    }


def _read_tallies(connection: Connection, selected: Any) -> dict[Role, Tally]:  # noqa: ANN401
    columns = predictions.c
    groups = (*_ROLE, columns.role, columns.predicted, _BIN)
    counted = select(
        *groups,
        func.count().label("predictions"),
        func.min(columns.time_us).label("first_us"),
        func.max(columns.time_us).label("last_us"),
        func.sum(columns.confidence).label("confidence"),
        # The error rate of a sure answer holds for images like the training images only.
        *_share("sure", case((columns.out_of_distribution, False), else_=columns.sure)),
        *_share("unlike", columns.out_of_distribution),
        func.sum(columns.total_ms).label("total_ms"),
        func.sum(cast(columns.asked, Integer)).label("asked"),
    ).where(selected)
    tallies: dict[Role, Tally] = {}
    for row in connection.execute(counted.group_by(*groups)):
        part = Tally(
            by_class=Counter({row.predicted: row.predictions}),
            first_us=row.first_us,
            last_us=row.last_us,
            confidence=row.confidence,
            sure=row.sure or 0,
            sure_known=row.sure_known,
            unlike=row.unlike or 0,
            unlike_known=row.unlike_known,
            total_ms=row.total_ms,
            confidences=Counter({_last(row.bin): row.predictions}),
            roles=Counter({row.role: row.predictions} if row.role else {}),
            asked=row.asked,
        )
        tallies.setdefault((row.model_id, bool(row.shadow)), Tally()).add(part)
    return tallies


def _last(number: int) -> int:
    """Return the bin of a confidence; 1 belongs to the last one."""
    return min(number, BINS - 1)


def _share(name: str, column: Any) -> Sequence[Any]:  # noqa: ANN401 - expressions of SQL
    return func.sum(cast(column, Integer)).label(name), func.count(column).label(f"{name}_known")


def _add_feedback(connection: Connection, selected: Any, tallies: dict[Role, Tally]) -> None:  # noqa: ANN401
    """Count feedback on answers, and for the predictions beside them."""
    for joined in (_ANSWERED, _BESIDE):
        _count_feedback(connection, selected & joined, tallies, missing=False)


def _count_feedback(
    connection: Connection,
    joined: Any,  # noqa: ANN401 - an expression of SQL
    tallies: dict[Role, Tally],
    *,
    missing: bool,
) -> None:
    """Count feedback.

    Args:
        connection: To the database.
        joined: Which predictions count, and which feedback belongs to each.
        tallies: Are completed.
        missing: Whether predictions count whose model and role have no tally; they were written after it was read.
    """
    cell = (feedback.c.label, predictions.c.predicted, feedback.c.asked, feedback.c.given_by, _BIN)
    counted = select(*_ROLE, *cell, func.count(), func.sum(predictions.c.confidence)).where(joined)
    for number, shadow, label, predicted, asked, giver, bin_, count, confidence in connection.execute(
        counted.group_by(*_ROLE, *cell)
    ):
        role = (number, bool(shadow))
        if missing:
            tallies.setdefault(role, Tally())
        if tally := tallies.get(role):
            found = Cell(label, predicted, bool(asked), giver, _last(bin_))
            tally.feedback[found] += count
            tally.feedback_confidence[found] += confidence
    _add_repeats(connection, joined, tallies)


def _add_repeats(connection: Connection, joined: Any, tallies: dict[Role, Tally]) -> None:  # noqa: ANN401
    """Count how often the same files have feedback. Predictions without a file, or of an older log, are left out."""
    voice = (feedback.c.asked, feedback.c.given_by)
    file = predictions.c.image_sha256
    each = select(*_ROLE, *voice, func.count().label("labels")).where(joined, file.is_not(None))
    files = each.group_by(*_ROLE, *voice, file).subquery()
    groups = (files.c.model_id, files.c.shadow, files.c.asked, files.c.given_by)
    labels = files.c.labels
    counted = select(*groups, func.count(), func.sum(labels), func.sum(labels * labels)).group_by(*groups)
    for number, shadow, asked, giver, images, total, squares in connection.execute(counted):
        if tally := tallies.get((number, bool(shadow))):
            # PostgreSQL's sums are decimal numbers.
            tally.repeats[Voice(bool(asked), giver)] = Repeats(images, int(total), int(squares))


def _add_latencies(connection: Connection, selected: Any, tallies: dict[Role, Tally]) -> None:  # noqa: ANN401
    latest: Select[Any] = select(*_ROLE, predictions.c.total_ms).where(selected)
    latest = latest.order_by(predictions.c.time_us.desc()).limit(MAX_LATENCIES)
    values: dict[Role, list[float]] = {}
    for number, shadow, total_ms in connection.execute(latest):
        values.setdefault((number, bool(shadow)), []).append(total_ms)
    for role in values.keys() & tallies.keys():
        tallies[role].latencies = np.array(values[role])


def _read_latencies(connection: Connection, selected: Any, role: Role, tally: Tally) -> Floats:  # noqa: ANN401
    """Return the latencies of a role: those of its tally, or more if it has few among the latest of all models."""
    if len(tally.latencies) >= min(ENOUGH_LATENCIES, tally.predictions):
        return tally.latencies
    own = (predictions.c.model_id == role[0]) & (_SHADOW if role[1] else ~_SHADOW)
    # The index begins with the time: what is later need not be read.
    own &= predictions.c.time_us <= tally.last_us
    latest = select(predictions.c.total_ms).where(selected, own).order_by(predictions.c.time_us.desc())
    return np.array(connection.scalars(latest.limit(ENOUGH_LATENCIES)).all(), np.float64)


def _read_hours(connection: Connection, selected: Any) -> dict[Role, dict[int, int]]:  # noqa: ANN401
    hour = (predictions.c.time_us // HOUR_US).label("hour")
    counted = select(*_ROLE, hour, func.count()).where(selected).group_by(*_ROLE, hour).order_by(hour)
    hours: dict[Role, dict[int, int]] = {}
    for number, shadow, start, count in connection.execute(counted):
        hours.setdefault((number, bool(shadow)), {})[start * HOUR_US] = count
    return hours
