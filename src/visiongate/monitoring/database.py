"""The database of the prediction log: opening, writing, feedback and retention, by SQLAlchemy Core."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    create_engine,
    delete,
    event,
    insert,
    make_url,
    select,
    update,
)
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DataError, IntegrityError

from visiongate.monitoring.entries import (
    Feedback,
    FeedbackReceipt,
    LoggedModel,
    LoggedPrediction,
    UnknownLabelError,
    UnknownPredictionError,
)
from visiongate.monitoring.tables import feedback, metadata, models, predictions

# How long SQLite waits for another process that writes. The writer tries again later.
BUSY_SECONDS = 1.0
# Rows of one deletion: some 50 ms, in which no prediction is written.
PRUNED_ROWS = 5000
DAY_US = 86_400_000_000
# The database works, but refuses these rows: trying again would not help.
_REFUSED = (DataError, IntegrityError, OverflowError, TypeError, ValueError)


class Database:
    """An open database. Only one thread may write."""

    def __init__(self, address: str) -> None:
        """Open the database, and make its folder, file and tables if they are missing.

        Args:
            address: An address of SQLAlchemy, such as ``sqlite:///logs/predictions.sqlite``.

        Raises:
            SQLAlchemyError: The address is invalid or the database cannot be opened.
            OSError: The folder cannot be made.
            ImportError: The driver is not installed.
        """
        self._file = _find_file(address)
        if self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
        self.engine = _create_engine(address)
        self._model_ids: dict[tuple[str, str, str], int] = {}
        metadata.create_all(self.engine)

    @property
    def moved(self) -> bool:
        """Whether the file was deleted or moved. SQLite would go on to write to it, for nobody."""
        return self._file is not None and not self._file.exists()

    def close(self) -> None:
        """Close the connections."""
        self.engine.dispose()

    def write(self, entries: Sequence[LoggedPrediction]) -> int:
        """Insert predictions in one transaction, and return how many of them the database refused, such as a repeated id.

        Raises:
            SQLAlchemyError: The database cannot be written; no prediction was inserted.
        """
        try:
            with self.engine.begin() as connection:
                connection.execute(insert(predictions), [self._row(connection, entry) for entry in entries])
        except Exception as error:
            # The models of the rolled back transaction are gone.
            self._model_ids.clear()
            if not isinstance(error, _REFUSED):
                raise
            return 1 if len(entries) == 1 else sum(self.write([entry]) for entry in entries)
        return 0

    def record_feedback(self, given: Feedback) -> FeedbackReceipt:
        """Store the true class of a prediction's image; it replaces an earlier one.

        Raises:
            UnknownPredictionError: There is no such prediction.
            UnknownLabelError: The label is not a class of the prediction's model.
            SQLAlchemyError: The database cannot be written.
        """
        found = (
            select(predictions.c.predicted, models.c.classes)
            .join(models, models.c.model_id == predictions.c.model_id)
            .where(predictions.c.prediction_id == given.prediction_id)
        )
        values = {"label": given.label, "source": given.source, "time_us": _now_us()}
        same = feedback.c.prediction_id == given.prediction_id
        with self.engine.begin() as connection:
            row = connection.execute(found).one_or_none()
            if row is None:
                raise UnknownPredictionError(f"no prediction has the id {given.prediction_id[:80]!r}")
            if given.label not in (classes := json.loads(row.classes)):
                raise UnknownLabelError(given.label, classes)
            if not connection.execute(update(feedback).where(same).values(values)).rowcount:
                connection.execute(insert(feedback).values(prediction_id=given.prediction_id, **values))
        return FeedbackReceipt(given.prediction_id, given.label, row.predicted)

    def prune(self, days: int, max_rows: int) -> int:
        """Delete the oldest predictions beyond a number of days or rows, with their feedback; return how many.

        One call deletes `PRUNED_ROWS` at most. SQLite uses the space again, but its file does not become smaller.
        """
        by_age, time_us = predictions.c.time_us.desc(), predictions.c.time_us
        with self.engine.begin() as connection:
            surplus = connection.scalar(select(time_us).order_by(by_age).offset(max_rows).limit(1))
            oldest = max(_now_us() - days * DAY_US, -1 if surplus is None else surplus)
            old = select(predictions.c.prediction_id).where(time_us <= oldest).order_by(time_us)
            ids = connection.scalars(old.limit(PRUNED_ROWS)).all()
            connection.execute(delete(feedback).where(feedback.c.prediction_id.in_(ids)))
            connection.execute(delete(predictions).where(predictions.c.prediction_id.in_(ids)))
        return len(ids)

    def _row(self, connection: Connection, entry: LoggedPrediction) -> dict[str, Any]:
        return {
            "prediction_id": entry.prediction_id,
            "time_us": entry.time_us,
            "model_id": self._model_id(connection, entry.model),
            "predicted": entry.predicted,
            "confidence": float(entry.confidence),
            "sure": entry.sure,
            "out_of_distribution": entry.out_of_distribution,
            "decode_ms": entry.decode_ms,
            "wait_ms": entry.wait_ms,
            "inference_ms": entry.inference_ms,
            "total_ms": float(entry.total_ms),
            "request_id": entry.request_id,
            "shadow_of": entry.shadow_of,
            "probabilities": entry.probabilities,
        }

    def _model_id(self, connection: Connection, model: LoggedModel) -> int:
        """Return the number of a model, and add the model if it is new."""
        key = (model.name, model.version or "", model.sha256)
        if key not in self._model_ids:
            values = dict(zip(("name", "version", "sha256"), key, strict=True))
            number = connection.scalar(select(models.c.model_id).filter_by(**values))
            if number is None:
                classes = json.dumps(model.classes, ensure_ascii=False)
                added = connection.execute(insert(models).values(**values, classes=classes))
                number = int(added.inserted_primary_key[0])  # type: ignore[index]
            self._model_ids[key] = number
        return self._model_ids[key]


def _find_file(address: str) -> Path | None:
    """Return the file of an address of SQLite; None for another database, and for an address in SQLite's own form."""
    url = make_url(address)
    if url.get_backend_name() != "sqlite" or not url.database or url.database.startswith("file:"):
        return None
    return Path(url.database)


def _create_engine(address: str) -> Engine:
    if make_url(address).get_backend_name() != "sqlite":
        return create_engine(address, pool_size=2, pool_pre_ping=True)
    engine = create_engine(address, pool_size=2, connect_args={"timeout": BUSY_SECONDS})
    event.listen(engine, "connect", _configure_sqlite)
    return engine


def _configure_sqlite(connection: DBAPIConnection, _: object) -> None:
    """Let readers not wait for the writer, and keep the file readable when the process is killed.

    Without a sync at each commit, a power failure may lose the last seconds, but damages nothing.
    """
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


def _now_us() -> int:
    return time.time_ns() // 1000
