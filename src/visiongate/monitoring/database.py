"""The database of the prediction log: opening, writing, feedback and retention, by SQLAlchemy Core."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    create_engine,
    delete,
    event,
    func,
    insert,
    inspect,
    make_url,
    select,
)
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DataError, IntegrityError

from visiongate.errors import SettingsError
from visiongate.monitoring.address import EXAMPLES, POSTGRESQL, SETTING, SQLITE
from visiongate.monitoring.entries import (
    Failure,
    Feedback,
    FeedbackReceipt,
    ImageFacts,
    LoggedModel,
    LoggedPrediction,
    UnknownLabelError,
    UnknownPredictionError,
)
from visiongate.monitoring.tables import (
    REVISION,
    drift_references,
    failures,
    feedback,
    insert_into,
    metadata,
    models,
    predictions,
    schema_version,
)
from visiongate.monitoring.times import DAY_US, now_us

# How long SQLite waits for another process that writes. The writer tries again later.
BUSY_SECONDS = 1.0
# By whose mean size PostgreSQL's are judged, and how much larger they are with their indexes, as measured.
SAMPLED_ROWS, INDEXED = 1000, 1.4
# Rows of one deletion: some 50 ms, in which no prediction is written.
PRUNED_ROWS = 5000
# Held while tables are made. Any number that no other program uses.
TABLES_LOCK = 0x7669_7369_6F6E
# How long a change of the tables waits for queries. The writer tries again later.
CHANGE_MILLISECONDS = 5000
# Without these, a connection through a network that drops packets would wait for hours. Seconds, but for the last one.
POSTGRESQL_OPTIONS = {
    "application_name": "visiongate",
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
# The database works, but refuses these rows: trying again would not help.
# The columns of `ImageFacts`, in its order.
_IMAGE_COLUMNS = ("image_sha256", "image_bytes", *ImageFacts._fields[2:])
_NO_IMAGE = (None,) * len(_IMAGE_COLUMNS)
_REFUSED = (DataError, IntegrityError, OverflowError, TypeError, ValueError)


class Retention(NamedTuple):
    """Which predictions are kept: those within all limits.

    Attributes:
        days: Of their age.
        max_rows: Of their number.
        max_bytes: Of their size, about.
    """

    days: int
    max_rows: int
    max_bytes: int


class Database:
    """An open database. Only one thread may write, but several processes may, on several machines if it is PostgreSQL."""

    def __init__(self, address: str, *, create: bool = True) -> None:
        """Open the database, make its folder, file and tables if they are missing, and upgrade older tables.

        Args:
            address: An address of SQLAlchemy, such as ``sqlite:///logs/predictions.sqlite``.
            create: Whether a missing file is made. Tables are, anyway.

        Raises:
            SettingsError: The address is invalid, the file is missing and not made, or the tables are of a newer version.
            SQLAlchemyError: The database cannot be opened.
            OSError: The folder cannot be made.
            ImportError: The driver is not installed.
        """
        url = _parse(address)
        self._file = _find_file(url)
        if not create:
            _require_file(url)
        elif self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
        self.engine = _create_engine(url)
        self._model_ids: dict[tuple[str, str, str], int] = {}
        self._insert = _Insert(self.engine)
        self.prepare_tables()

    @property
    def moved(self) -> bool:
        """Whether the file was deleted or moved. SQLite would go on to write to it, for nobody."""
        return self._file is not None and not self._file.exists()

    def close(self) -> None:
        """Close the connections."""
        self.engine.dispose()

    def prepare_tables(self) -> None:
        """Make the tables, or bring them to the newest revision, once if several processes do so at the same time.

        Raises:
            SettingsError: A newer version of this program has changed the tables.
            SQLAlchemyError: The database cannot be read, or a table cannot be made or changed.
        """
        with self.engine.begin() as connection:
            # A log that is complete needs no lock, and may be read-only.
            if not _is_complete(connection):
                _lock(connection)
                _prepare(connection)

    def write(self, entries: Sequence[LoggedPrediction]) -> int:
        """Insert predictions in one transaction, and return how many of them the database refused, such as a repeated id.

        Raises:
            SQLAlchemyError: The database cannot be written; no prediction was inserted.
        """
        try:
            rows = [self._row(entry) for entry in entries]
            with self.engine.begin() as connection:
                self._insert.run(connection, rows)
        except Exception as error:
            # The database may be another one, such as a restored one, that does not know the models.
            self._model_ids.clear()
            if not isinstance(error, _REFUSED):
                raise
            return 1 if len(entries) == 1 else sum(self.write([entry]) for entry in entries)
        return 0

    def write_failures(self, counted: Mapping[Failure, int]) -> None:
        """Insert how often versions failed.

        Raises:
            SQLAlchemyError: The database cannot be written; nothing was inserted.
        """
        rows = [
            {
                "time_us": failure.minute_us,
                "model_id": self._model_id(failure.model),
                "role": failure.role,
                "kind": failure.kind,
                "count": count,
            }
            for failure, count in counted.items()
        ]
        with self.engine.begin() as connection:
            connection.execute(insert(failures), rows)

    def write_reference(self, model: LoggedModel, content: bytes) -> bool:
        """Store the reference of a model, in place of another one; return False if the database refuses it.

        Raises:
            SQLAlchemyError: The database cannot be written.
        """
        # The database may be another one, in which a known number is another model's.
        self._model_ids.clear()
        values = {"content": content, "time_us": now_us()}
        try:
            number = self._model_id(model)
            with self.engine.begin() as connection:
                added = insert_into(connection, drift_references).values(model_id=number, **values)
                connection.execute(
                    added.on_conflict_do_update(
                        index_elements=[drift_references.c.model_id],
                        set_=values,
                        where=drift_references.c.content != content,
                    )
                )
        except _REFUSED:
            return False
        return True

    def record_feedback(self, given: Feedback) -> FeedbackReceipt:
        """Store the true class of a prediction's image; it replaces an earlier one.

        Raises:
            UnknownPredictionError: There is no such prediction.
            UnknownLabelError: The label is not a class of the prediction's model.
            SQLAlchemyError: The database cannot be written.
        """
        found = (
            select(predictions.c.predicted, predictions.c.asked, models.c.classes, feedback.c.label)
            .join(models, models.c.model_id == predictions.c.model_id)
            .outerjoin(feedback, feedback.c.prediction_id == predictions.c.prediction_id)
            .where(predictions.c.prediction_id == given.prediction_id)
        )
        values = {
            "label": given.label,
            "source": given.source,
            "time_us": now_us(),
            "given_by": given.given_by,
        }
        with self.engine.begin() as connection:
            row = connection.execute(found).one_or_none()
            if row is None:
                raise UnknownPredictionError(f"no prediction has the id {given.prediction_id[:80]!r}")
            if given.label not in (classes := json.loads(row.classes)):
                raise UnknownLabelError(given.label, classes)
            values["asked"] = row.asked
            stored = insert_into(connection, feedback).values(prediction_id=given.prediction_id, **values)
            connection.execute(
                stored.on_conflict_do_update(index_elements=[feedback.c.prediction_id], set_=values)
            )
        replaced = row.label is not None
        return FeedbackReceipt(given.prediction_id, given.label, row.predicted, replaced, row.asked)

    def prune(self, limits: Retention) -> int:
        """Delete the oldest predictions beyond the limits, with their feedback; return how many. Failures go by age.

        One call deletes `PRUNED_ROWS` at most. SQLite uses the space again, but its file does not become smaller.
        """
        by_age, time_us = predictions.c.time_us.desc(), predictions.c.time_us
        with self.engine.begin() as connection:
            kept = min(limits.max_rows, _rows_that_fit(connection, limits.max_bytes))
            surplus = connection.scalar(select(time_us).order_by(by_age).offset(kept).limit(1))
            too_old = now_us() - limits.days * DAY_US
            oldest = max(too_old, -1 if surplus is None else surplus)
            old = select(predictions.c.prediction_id).where(time_us <= oldest).order_by(time_us)
            # Other processes delete, too: each takes rows of its own.
            ids = connection.scalars(old.limit(PRUNED_ROWS).with_for_update(skip_locked=True)).all()
            connection.execute(delete(feedback).where(feedback.c.prediction_id.in_(ids)))
            connection.execute(delete(predictions).where(predictions.c.prediction_id.in_(ids)))
            connection.execute(delete(failures).where(failures.c.time_us <= too_old))
        return len(ids)

    def _row(self, entry: LoggedPrediction) -> dict[str, Any]:
        return {
            "prediction_id": entry.prediction_id,
            "time_us": entry.time_us,
            "model_id": self._model_id(entry.model),
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
            "role": entry.role,
            "asked": entry.asked,
            **dict(zip(_IMAGE_COLUMNS, entry.image or _NO_IMAGE, strict=True)),
            "kept": entry.kept,
            "embedding": entry.embedding,
            "probabilities": entry.probabilities,
        }

    def _model_id(self, model: LoggedModel) -> int:
        """Return the number of a model, and add the model if it is new.

        This is a transaction of its own: with the predictions in it, two processes could wait for each other for ever.
        """
        key = (model.name, model.version or "", model.sha256)
        if key not in self._model_ids:
            values = dict(zip(("name", "version", "sha256"), key, strict=True))
            classes = json.dumps(model.classes, ensure_ascii=False)
            number = select(models.c.model_id).filter_by(**values)
            with self.engine.begin() as connection:
                found = connection.scalar(number)
                if found is None:
                    added = insert_into(connection, models).values(**values, classes=classes)
                    connection.execute(added.on_conflict_do_nothing())
                    found = connection.scalars(number).one()
            self._model_ids[key] = found
        return self._model_ids[key]


def _is_complete(connection: Connection) -> bool:
    tables = set(inspect(connection).get_table_names())
    return (
        metadata.tables.keys() | {schema_version.name} <= tables
        and connection.scalar(select(schema_version.c.version_num)) == REVISION
    )


def _lock(connection: Connection) -> None:
    """Keep other processes from changing the tables until the transaction ends."""
    if connection.dialect.name == POSTGRESQL:
        # `IF NOT EXISTS` does not help: of two that find the table missing, one fails.
        connection.execute(select(func.pg_advisory_xact_lock(TABLES_LOCK)))
        # Writers would wait behind a change that waits for a long query, such as a backup.
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {CHANGE_MILLISECONDS}")
    else:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _prepare(connection: Connection) -> None:
    tables = set(inspect(connection).get_table_names())
    if tables & metadata.tables.keys():
        # Importing Alembic takes 0.2 s, which few starts need.
        from visiongate.monitoring.migrations.upgrading import upgrade  # noqa: PLC0415

        upgrade(connection)
    else:
        schema_version.create(connection, checkfirst=True)
        connection.execute(delete(schema_version))
        connection.execute(insert(schema_version).values(version_num=REVISION))
    # All of them in a new database, and those that somebody has dropped.
    metadata.create_all(connection)


def _rows_that_fit(connection: Connection, max_bytes: int) -> int:
    """Return about how many predictions have so many bytes, with their indexes, judged by those that there are."""
    if connection.dialect.name == POSTGRESQL:
        # The size of the table would say nothing: it does not become smaller.
        latest = select(predictions).order_by(predictions.c.time_us.desc()).limit(SAMPLED_ROWS).subquery()
        row = connection.scalar(select(func.avg(func.pg_column_size(latest.table_valued()))))
        return sys.maxsize if row is None else int(max_bytes / (INDEXED * float(row)))
    pages, free, page = (
        connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
        for name in ("page_count", "freelist_count", "page_size")
    )
    used = (pages - free) * page
    if used <= max_bytes:
        return sys.maxsize
    rows = connection.scalars(select(func.count()).select_from(predictions)).one()
    return int(rows * max_bytes / used)


class _Insert:
    """Inserts predictions by the driver: SQLAlchemy would take as long for their parameters as SQLite for the rows."""

    def __init__(self, engine: Engine) -> None:
        compiled = insert(predictions).compile(engine)
        self._statement = str(compiled)
        # None if the driver takes parameters by name.
        self._order = compiled.positiontup

    def run(self, connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
        if self._order is None:
            connection.exec_driver_sql(self._statement, rows)
        else:
            connection.exec_driver_sql(
                self._statement, [tuple(row[name] for name in self._order) for row in rows]
            )


def read_labeled_images(engine: Engine) -> frozenset[str]:
    """Return the sha256 of the images that have feedback.

    Raises:
        SQLAlchemyError: The database cannot be read.
    """
    sha256 = predictions.c.image_sha256
    joined = predictions.c.prediction_id == feedback.c.prediction_id
    found = select(sha256).join(feedback, joined).where(sha256.is_not(None)).distinct()
    with engine.connect() as connection:
        return frozenset(connection.scalars(found))


def open_engine(address: str) -> Engine:
    """Return a database for who only reads: unlike `Database`, it makes no tables.

    Args:
        address: As for `Database`.

    Raises:
        SettingsError: The address is invalid, the file is missing, or the tables are of another version.
        SQLAlchemyError: The database cannot be read.
        ImportError: The driver is not installed.
    """
    url = _parse(address)
    _require_file(url)
    engine = _create_engine(url)
    with engine.connect() as connection:
        if _is_complete(connection):
            return engine
    engine.dispose()
    raise SettingsError(
        f"{SETTING}: the tables are of another version of visiongate; the service or `visiongate drift` upgrades them"
    )


def _parse(address: str) -> URL:
    try:
        return make_url(address)
    # The driver's words would show the address.
    except (ArgumentError, ValueError):
        raise SettingsError(f"{SETTING}: not an address of SQLAlchemy; name {EXAMPLES}") from None


def _find_file(url: URL) -> Path | None:
    """Return the file of an address of SQLite; None for another database, and for an address in SQLite's own form."""
    if url.get_backend_name() != SQLITE or not url.database or url.database.startswith("file:"):
        return None
    return Path(url.database)


def _require_file(url: URL) -> None:
    file = _find_file(url)
    if file is not None and not file.exists():
        raise SettingsError(
            f"{SETTING} = {url}: no such file; the service makes it: run `visiongate serve`, or name its database in "
            "VISIONGATE_SERVING__LOG__ADDRESS"
        )


def _create_engine(url: URL) -> Engine:
    if url.get_backend_name() != SQLITE:
        # What the address says takes precedence.
        options = {name: value for name, value in POSTGRESQL_OPTIONS.items() if name not in url.query}
        return create_engine(url, pool_size=2, pool_pre_ping=True, connect_args=options)
    engine = create_engine(url, pool_size=2, connect_args={"timeout": BUSY_SECONDS})
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
