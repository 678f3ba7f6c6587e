"""Migrations of the prediction log: the same tables on every way, on SQLite and PostgreSQL, and old rows survive."""

from collections.abc import Iterator
from pathlib import Path
from threading import Barrier, Thread

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, create_engine, inspect, select, update

from postgres import PostgresServer, needs_postgres, postgres_server
from visiongate.errors import SettingsError
from visiongate.monitoring import database as module
from visiongate.monitoring.database import Database, open_engine
from visiongate.monitoring.entries import Feedback, LoggedModel, LoggedPrediction, new_prediction_id
from visiongate.monitoring.migrations.upgrading import upgrade
from visiongate.monitoring.tables import REVISION, metadata, schema_version

MODEL = LoggedModel("pets", "3", "a" * 64, ("Cat", "Dog"))
# Rows of a version before migrations.
OLD_ROWS = """
INSERT INTO models VALUES (1, 'pets', '3', '{sha256}', '["Cat", "Dog"]');
INSERT INTO predictions (prediction_id, time_us, model_id, predicted, confidence, total_ms)
VALUES ('old', 1000, 1, 'Cat', 0.75, 9);
INSERT INTO feedback VALUES ('old', 'Dog', 'volunteered', 2000);
INSERT INTO drift_references VALUES (1, 10, 20, '[]', {blob});
INSERT INTO drift_checks VALUES (1, 3000, 'no drift', '[]')
"""
BLOBS = {"sqlite": "x'0000403f'", "postgresql": "'\\x0000403f'"}


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture(
    params=["sqlite", pytest.param("postgresql", marks=[needs_postgres, pytest.mark.slow])],
)
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'predictions.sqlite'}"
    server: PostgresServer = request.getfixturevalue("server")
    return server.address(server.new_database())


@pytest.fixture
def engine(address: str) -> Iterator[Engine]:
    engine = create_engine(address)
    yield engine
    engine.dispose()


def make_old(engine: Engine) -> None:
    """Make the tables as they were before migrations, with rows."""
    with engine.begin() as connection:
        upgrade(connection, "0001")
        schema_version.drop(connection)
        blob = BLOBS[engine.dialect.name]
        for statement in OLD_ROWS.format(sha256=MODEL.sha256, blob=blob).split(";"):
            connection.exec_driver_sql(statement)
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")


def describe(engine: Engine) -> dict[str, object]:
    """Return the columns, keys and indexes of each table, whatever their order."""
    found = inspect(engine)
    return {
        table: (
            {
                column["name"]: (str(column["type"]), column["nullable"])
                for column in found.get_columns(table)
            },
            found.get_pk_constraint(table)["constrained_columns"],
            [key["referred_table"] for key in found.get_foreign_keys(table)],
            {
                index["name"]: (
                    index["column_names"],
                    {name: str(value) for name, value in index.get("dialect_options", {}).items()},
                )
                for index in found.get_indexes(table)
            },
        )
        for table in found.get_table_names()
    }


def difference(engine: Engine) -> list[object]:
    """Return what Alembic would change."""
    with engine.connect() as connection:
        options = {"version_table": schema_version.name, "compare_server_default": True}
        return compare_metadata(MigrationContext.configure(connection, opts=options), metadata)


def test_every_way_leads_to_the_same_tables(address: str, engine: Engine) -> None:
    Database(address).close()
    assert difference(engine) == []
    fresh = describe(engine)
    with engine.begin() as connection:
        metadata.drop_all(connection)
        schema_version.drop(connection)
        upgrade(connection)
    assert difference(engine) == []
    assert describe(engine) == fresh
    with engine.connect() as connection:
        assert connection.scalar(select(schema_version.c.version_num)) == REVISION


def test_old_rows_survive_and_new_ones_join_them(address: str, engine: Engine) -> None:
    make_old(engine)
    database = Database(address)
    given = LoggedPrediction(new_prediction_id(), MODEL, "Dog", 0.9, 20.0)
    database.write([given])
    database.record_feedback(Feedback("old", "Cat", given_by="ann"))
    assert difference(engine) == []
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(
            "SELECT prediction_id, model_id, confidence, asked, image_sha256 FROM predictions ORDER BY time_us"
        ).all()
        assert rows == [("old", 1, 0.75, False, None), (given.prediction_id, 1, 0.9, False, None)]
        assert connection.exec_driver_sql("SELECT label, asked, given_by FROM feedback").all() == [
            ("Cat", False, "ann")
        ]
        assert connection.exec_driver_sql("SELECT count(*) FROM drift_checks").scalar() == 1
    database.close()


def test_a_database_that_lacks_some_old_tables_gets_them(address: str, engine: Engine) -> None:
    make_old(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE drift_checks")
        connection.exec_driver_sql("DROP TABLE drift_references")
    Database(address).close()
    assert difference(engine) == []


def test_replicas_that_start_at_once_upgrade_once(
    address: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUSY_SECONDS", 10.0)
    make_old(engine)
    barrier, opened = Barrier(5), []

    def open_database() -> None:
        barrier.wait()
        database = Database(address)
        opened.append(database.write([LoggedPrediction(new_prediction_id(), MODEL, "Dog", 0.9, 20.0)]))
        database.close()

    threads = [Thread(target=open_database) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert opened == [0] * 5
    assert difference(engine) == []


def test_tables_of_a_newer_version_are_refused_and_left_as_they_are(address: str, engine: Engine) -> None:
    Database(address).close()
    before = describe(engine)
    with engine.begin() as connection:
        connection.execute(update(schema_version).values(version_num="9999"))
    with pytest.raises(
        SettingsError, match=rf"serving\.log\.address: .* revision 9999; this one knows {REVISION}"
    ):
        Database(address)
    assert describe(engine) == before


def test_who_only_reads_is_told_to_upgrade(address: str, engine: Engine) -> None:
    make_old(engine)
    before = describe(engine)
    with pytest.raises(SettingsError, match="the tables are of another version of visiongate"):
        open_engine(address)
    assert describe(engine) == before
    Database(address).close()
    open_engine(address).dispose()


def test_a_failed_upgrade_leaves_everything_as_it_was(address: str, engine: Engine) -> None:
    make_old(engine)
    with engine.begin() as connection:
        # In the way of the last step.
        connection.exec_driver_sql("CREATE TABLE failures (x INTEGER)")
    before = describe(engine)
    with pytest.raises(Exception, match="failures"):
        Database(address)
    assert describe(engine) == before
