"""Drift checks in the database of the prediction log: the samples that are compared, and the results."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from pydantic import ValidationError
from sqlalchemy import Connection, Engine, Select, delete, func, insert, select

from visiongate.errors import DataError
from visiongate.monitoring.drift.check import Candidate
from visiongate.monitoring.drift.report import DriftReport
from visiongate.monitoring.drift.sample import Sample, to_matrix
from visiongate.monitoring.entries import LoggedModel
from visiongate.monitoring.history import read_models
from visiongate.monitoring.tables import (
    drift_checks,
    drift_references,
    first_predictions,
    insert_into,
    predictions,
)
from visiongate.monitoring.times import AHEAD_US, DAY_US, latest_us, now_us
from visiongate.records.drift_reference import DriftReference, read_reference
from visiongate.settings.monitoring import Drift

# Numbers of an embedding, at most.
_MAX_EMBEDDING: Final = 1024
# Of the draw of predictions: a repeated check compares the same ones.
_SEED: Final = 20261129
_TIME = predictions.c.time_us
_SAMPLED = tuple(
    predictions.c[name]
    for name in (
        "time_us",
        "predicted",
        "confidence",
        "probabilities",
        "embedding",
        "out_of_distribution",
        "brightness",
        "contrast",
        "width",
        "height",
        "format",
        "mode",
        "image_sha256",
    )
)


class _Window(NamedTuple):
    """The predictions of a version in a time.

    Attributes:
        recent: All of them, or a selection.
        total: How many there are.
        files: Of each file one, or a selection; None if ``recent`` has all predictions.
        file_count: How many predictions ``files`` is of; the total without.
    """

    recent: Sample
    total: int
    files: Sample | None
    file_count: int


class _First(NamedTuple):
    """The first predictions of a version, and what they lack."""

    sample: Sample | None
    missing: str | None


def read_candidates(engine: Engine, since_us: int, settings: Drift) -> list[Candidate]:
    """Return the versions that answered since a time; the one with the latest answer is the first.

    Predictions of a clock that was ahead do not count.

    First predictions that have become enough for a reference are recorded, and used from then on.

    Args:
        engine: Of the database.
        since_us: Start of the window, in microseconds since 1970.
        settings: How many predictions to read.

    Raises:
        SQLAlchemyError: The database cannot be read or written.
        DataError: A recorded reference is damaged.
    """
    answered = _TIME.between(since_us, latest_us()) & predictions.c.shadow_of.is_(None)
    recent = select(predictions.c.model_id).where(answered)
    with engine.begin() as connection:
        numbers = connection.scalars(
            recent.group_by(predictions.c.model_id).order_by(func.max(_TIME).desc())
        ).all()
        known = read_models(connection)
        return [_read_candidate(connection, number, known[number], since_us, settings) for number in numbers]


def read_latest_report(engine: Engine) -> DriftReport | None:
    """Return the latest check; None if there is none. Those of a clock that was ahead do not count.

    Raises:
        SQLAlchemyError: The database cannot be read.
        ValidationError: The record is of another version of this program.
    """
    past = select(drift_checks.c.report).where(drift_checks.c.time_us <= latest_us())
    with engine.connect() as connection:
        report = connection.scalar(past.order_by(drift_checks.c.time_us.desc()).limit(1))
    return None if report is None else DriftReport.model_validate_json(report)


def read_earlier_report(engine: Engine) -> DriftReport | None:
    """Return the latest check; None if there is none, or one of another version of this program.

    Raises:
        SQLAlchemyError: The database cannot be read.
    """
    try:
        return read_latest_report(engine)
    except ValidationError:
        return None


def record_report(engine: Engine, report: DriftReport, days: int) -> None:
    """Record a check, and delete those that are older than a number of days, or of a clock that was ahead.

    Raises:
        SQLAlchemyError: The database cannot be written.
    """
    time_us = round(report.checked_at.timestamp() * 1e6)
    values = {"time_us": time_us, "verdict": report.verdict, "report": report.model_dump_json()}
    with engine.begin() as connection:
        connection.execute(insert(drift_checks).values(values))
        too_old = drift_checks.c.time_us < time_us - days * DAY_US
        connection.execute(
            delete(drift_checks).where(too_old | (drift_checks.c.time_us > time_us + AHEAD_US))
        )


def record_rollout(engine: Engine, sha256: str, settings: Drift) -> int:
    """Record the predictions beside the champion by which a rollout promoted a version, and return how many.

    From then on, its answers are compared with them. Of the predictions for one image, one is recorded; too few are not.

    Args:
        engine: Of the database.
        sha256: Of the version's file.
        settings: How many predictions are needed, and are enough.

    Raises:
        SQLAlchemyError: The database cannot be read or written.
    """
    tried = (predictions.c.shadow_of.is_not(None) | (predictions.c.role == "canary")) & (
        predictions.c.time_us <= latest_us()
    )
    with engine.begin() as connection:
        for number, model in read_models(connection).items():
            if model.sha256 != sha256:
                continue
            of_model = (predictions.c.model_id == number) & tried
            latest = select(*_SAMPLED).where(of_model).order_by(_TIME.desc()).limit(settings.max_images)
            rows = {row.image_sha256 or place: row for place, row in enumerate(connection.execute(latest))}
            if len(rows) < settings.min_images:
                continue
            sample = _to_sample(sorted(rows.values(), key=lambda row: row.time_us), model)
            values = {"content": sample.encode(), "time_us": now_us(), "by_rollout": True}
            added = insert_into(connection, first_predictions).values(model_id=number, **values)
            connection.execute(added.on_conflict_do_update(index_elements=["model_id"], set_=values))
            return len(sample)
    return 0


def _read_candidate(
    connection: Connection, number: int, model: LoggedModel, since_us: int, settings: Drift
) -> Candidate:
    held_out = _read_held_out(connection, number, model)
    beside = _read_beside(connection, number)
    first = _First(beside, None)
    if beside is None and (held_out is None or held_out.protocol == "cross_validation"):
        first = _read_first(connection, number, model, settings.reference)
        if first.sample is not None:
            since_us = max(since_us, int(first.sample.times[-1]) + 1)
    window = _read_window(connection, number, model, since_us, settings.max_images)
    return Candidate(
        model,
        held_out,
        first.sample,
        first.missing,
        window.recent,
        window.total,
        beside is not None,
        window.files,
        window.file_count,
    )


def _read_held_out(connection: Connection, number: int, model: LoggedModel) -> DriftReference | None:
    content = connection.scalar(
        select(drift_references.c.content).where(drift_references.c.model_id == number)
    )
    if content is None:
        return None
    reference = read_reference(content, model.sha256)
    if reference.classes != model.classes:
        raise DataError(
            f"drift_references: the classes of {model.name} {model.version or model.sha256[:12]} are others than those of its "
            "reference; delete the row, and the service stores it again"
        )
    return reference


def _read_beside(connection: Connection, number: int) -> Sample | None:
    """Return the predictions by which a rollout promoted a version; None if none did."""
    recorded = select(first_predictions.c.content).where(
        first_predictions.c.model_id == number, first_predictions.c.by_rollout
    )
    content = connection.scalar(recorded)
    return None if content is None else Sample.decode(content)


def _read_first(connection: Connection, number: int, model: LoggedModel, wanted: int) -> _First:
    recorded = select(first_predictions.c.content).where(first_predictions.c.model_id == number)
    if content := connection.scalar(recorded):
        # Enough, also if the setting has changed since.
        return _First(Sample.decode(content), None)
    query = select(*_SAMPLED).where(_answers_of(number)).order_by(_TIME).limit(wanted)
    rows = connection.execute(query).all()
    if len(rows) < wanted:
        missing = f"the reference has {len(rows):,} of {wanted:,} first predictions; {wanted - len(rows):,} more are needed"
        return _First(None, missing)
    sample = _to_sample(rows, model)
    values = {"model_id": number, "content": sample.encode(), "time_us": now_us()}
    # Two checks may run at the same time.
    connection.execute(insert_into(connection, first_predictions).values(values).on_conflict_do_nothing())
    return _First(sample, None)


def _read_window(
    connection: Connection, number: int, model: LoggedModel, since_us: int, most: int
) -> _Window:
    """Return the predictions since a time; of many, one of every two, three or so, and the same of different files.

    A client that sends one file a million times leaves as many of the others to compare.
    """
    selected = _answers_of(number) & (since_us <= _TIME)
    number_of = predictions.c.prediction_id
    total = connection.scalars(select(func.count()).where(selected)).one()
    every = select(number_of, _TIME).where(selected).subquery()
    recent = _read_selection(connection, model, every, total, most)
    if total <= most:
        return _Window(recent, total, None, total)
    # An image without a file, such as a tensor, is one of its own.
    file = func.coalesce(predictions.c.image_sha256, number_of)
    firsts = (func.min(number_of).label("prediction_id"), func.min(_TIME).label("time_us"))
    files = select(*firsts).where(selected).group_by(file).subquery()
    file_count = connection.scalars(select(func.count()).select_from(files)).one()
    if file_count == total:
        return _Window(recent, total, None, total)
    return _Window(recent, total, _read_selection(connection, model, files, file_count, most), file_count)


def _read_selection(connection: Connection, model: LoggedModel, chosen: Any, count: int, most: int) -> Sample:  # noqa: ANN401
    """Return predictions, of more than so many an even selection.

    Args:
        connection: To the database.
        model: Which made them.
        chosen: A subquery of ids and times.
        count: How many there are.
        most: To return.
    """
    ids = select(chosen.c.prediction_id)
    if count > most:
        row = func.row_number().over(order_by=(chosen.c.time_us, chosen.c.prediction_id)).label("row")
        numbered = select(chosen.c.prediction_id, row).subquery()
        ids = select(numbered.c.prediction_id).where(numbered.c.row.in_(_draw_rows(count, most)))
    query: Select[Any] = select(*_SAMPLED).where(predictions.c.prediction_id.in_(ids)).order_by(_TIME)
    return _to_sample(connection.execute(query).all(), model)


def _draw_rows(total: int, most: int) -> list[int]:
    """Return the numbers, from 1, of at most so many rows, one at random of each group of neighbors.

    The first of each group would be those of one client, if clients send in turn.
    """
    step = -(-total // most)
    starts = np.arange(0, total, step)
    rows: list[int] = (
        1 + np.random.default_rng(_SEED).integers(starts, np.minimum(starts + step, total))
    ).tolist()
    return rows


def _to_sample(rows: Sequence[Any], model: LoggedModel) -> Sample:
    places = {name: index for index, name in enumerate(model.classes)}
    columns = (
        dict(zip((column.name for column in _SAMPLED), zip(*rows, strict=True), strict=True)) if rows else {}
    )

    def column(name: str, missing: object, kind: str) -> np.ndarray[Any, Any]:
        values = columns.get(name, ())
        return np.array([missing if value is None else value for value in values], kind)

    blobs = columns.get("embedding", ())
    width = min(_MAX_EMBEDDING, max((len(blob) for blob in blobs if blob is not None), default=0) // 2)
    return Sample(
        times=column("time_us", 0, "int64"),
        predicted=np.array([places[name] for name in columns.get("predicted", ())], np.int16),
        confidence=column("confidence", np.nan, "float32").astype(np.float16),
        probabilities=to_matrix(columns.get("probabilities", ()), len(places), "<f4"),
        embedding=to_matrix(blobs, width, "<f2"),
        out_of_distribution=column("out_of_distribution", -1, "int8"),
        brightness=column("brightness", np.nan, "float32"),
        contrast=column("contrast", np.nan, "float32"),
        width=column("width", 0, "int32"),
        height=column("height", 0, "int32"),
        format=column("format", "", "str"),
        mode=column("mode", "", "str"),
        image=column("image_sha256", "", "str"),
    )


def _answers_of(number: int) -> Any:  # noqa: ANN401 - an expression of SQL
    answered = (predictions.c.model_id == number) & predictions.c.shadow_of.is_(None)
    return answered & (predictions.c.time_us <= latest_us())
