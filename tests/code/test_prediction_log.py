"""The prediction log, with SQLite: what is recorded, and that no fault of the database reaches who answers."""

import logging
import os
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, event

from clones import ROOT
from visiongate.errors import SettingsError
from visiongate.monitoring import database as database_module
from visiongate.monitoring import prediction_log as module
from visiongate.monitoring.database import Database, Retention
from visiongate.monitoring.entries import (
    Feedback,
    ImageFacts,
    LoggedModel,
    LoggedPrediction,
    LogUnavailableError,
    UnknownLabelError,
    UnknownPredictionError,
    new_prediction_id,
)
from visiongate.monitoring.history import read_history
from visiongate.monitoring.prediction_log import PredictionLog
from visiongate.monitoring.times import HOUR_US, MINUTE_US
from visiongate.settings.serving import PredictionLog as Settings
from waiting import wait_until

MODEL = LoggedModel("pets", "3", "a" * 64, ("Cat", "Dog"))
DAY_US = 24 * HOUR_US
WAIT = 30.0
# Bytes, more than any test writes.
ALL = 10**12


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GATHER_SECONDS", 0.01)
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(database_module, "BUSY_SECONDS", 0.02)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "predictions.sqlite"


@pytest.fixture
def open_log() -> Iterator[Callable[..., PredictionLog]]:
    logs = []

    def start(file: Path | str, **changes: object) -> PredictionLog:
        address = file if isinstance(file, str) else f"sqlite:///{file}"
        logs.append(PredictionLog(Settings(address=address, **changes)))
        logs[-1].start()
        return logs[-1]

    yield start
    for log in logs:
        log.close(1.0)


def prediction(label: str = "Dog", **changes: object) -> LoggedPrediction:
    return replace(LoggedPrediction(new_prediction_id(), MODEL, label, 0.9, 20.0), **changes)


def settle(log: PredictionLog) -> None:
    wait_until(lambda: not log.waiting)


def rows(file: Path, table: str = "predictions") -> list[dict[str, Any]]:
    with closing(sqlite3.connect(file)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(f"SELECT * FROM {table}")]  # noqa: S608


def count_rows(file: Path) -> int:
    """Count the predictions; none before the tables are made."""
    with (
        suppress(sqlite3.OperationalError),
        closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection,
    ):
        return int(connection.execute("SELECT count(*) FROM predictions").fetchone()[0])
    return 0


def test_prediction_is_recorded(file: Path, open_log: Callable[..., PredictionLog]) -> None:
    log = open_log(file)
    probabilities = np.array([0.1, 0.9], "<f4")
    given = prediction(
        decode_ms=2.0,
        wait_ms=0.5,
        inference_ms=17.0,
        probabilities=probabilities.tobytes(),
        sure=True,
        out_of_distribution=False,
        request_id="r1",
        role="canary",
        asked=True,
        image=ImageFacts("b" * 64, 1234, 40, 30, "PNG", "L", 0.5, 0.25),
        embedding=b"\x00\x3c",
        kept=False,
    )
    log.put(given)
    log.put(prediction("Cat", model=replace(MODEL, version=None)))
    settle(log)
    first, second = rows(file)
    assert first.pop("probabilities") == probabilities.tobytes()
    assert first == {
        "prediction_id": given.prediction_id,
        "time_us": given.time_us,
        "model_id": 1,
        "predicted": "Dog",
        "confidence": 0.9,
        "sure": 1,
        "out_of_distribution": 0,
        "decode_ms": 2.0,
        "wait_ms": 0.5,
        "inference_ms": 17.0,
        "total_ms": 20.0,
        "request_id": "r1",
        "shadow_of": None,
        "role": "canary",
        "asked": 1,
        "image_sha256": "b" * 64,
        "image_bytes": 1234,
        "width": 40,
        "height": 30,
        "format": "PNG",
        "mode": "L",
        "brightness": 0.5,
        "contrast": 0.25,
        "embedding": b"\x00\x3c",
        "kept": 0,
    }
    assert (second["sure"], second["model_id"], second["image_sha256"], second["kept"]) == (
        None,
        2,
        None,
        None,
    )
    assert [(row["name"], row["version"], row["classes"]) for row in rows(file, "models")] == [
        ("pets", "3", '["Cat", "Dog"]'),
        ("pets", "", '["Cat", "Dog"]'),
    ]


def test_second_start_goes_on_with_the_same_file(file: Path, open_log: Callable[..., PredictionLog]) -> None:
    for _ in range(2):
        log = open_log(file)
        log.put(prediction())
        log.close()
    assert [row["model_id"] for row in rows(file)] == [1, 1]
    assert log.dropped == dict.fromkeys(module.DROP_REASONS, 0)


def test_ids_ascend_and_cannot_be_guessed() -> None:
    ids = [new_prediction_id() for _ in range(3)]
    time.sleep(0.002)
    assert new_prediction_id() > max(ids)
    parsed = [uuid.UUID(name) for name in ids]
    assert {(name.version, name.variant) for name in parsed} == {(7, uuid.RFC_4122)}
    assert len({name.int % 2**62 for name in parsed}) == 3


def test_feedback_follows_its_prediction(file: Path, open_log: Callable[..., PredictionLog]) -> None:
    log = open_log(file)
    given = prediction("Dog")
    log.put(given)
    receipt = log.record_feedback(Feedback(given.prediction_id, "Cat")).result(WAIT)
    assert (receipt.label, receipt.predicted) == ("Cat", "Dog")
    log.record_feedback(Feedback(given.prediction_id, "Dog")).result(WAIT)
    (row,) = rows(file, "feedback")
    assert (row["prediction_id"], row["label"], row["source"]) == (given.prediction_id, "Dog", "volunteered")


def test_invalid_feedback_is_refused(file: Path, open_log: Callable[..., PredictionLog]) -> None:
    log = open_log(file)
    given = prediction()
    log.put(given)
    with pytest.raises(
        UnknownLabelError, match="'Bird' is not a class of the model; choose one of Cat, Dog"
    ) as refused:
        log.record_feedback(Feedback(given.prediction_id, "Bird")).result(WAIT)
    assert refused.value.classes == ("Cat", "Dog")
    for name in (new_prediction_id(), "", "\ud800", "a" * 10_000):
        with pytest.raises((UnknownPredictionError, LogUnavailableError)):
            log.record_feedback(Feedback(name, "Cat")).result(WAIT)
    assert log.fault is None


def test_lock_delays_predictions_and_refuses_feedback(
    file: Path, open_log: Callable[..., PredictionLog], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "visiongate")
    log = open_log(file)
    given = prediction()
    log.put(given)
    settle(log)
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        log.put(prediction())
        waiting = log.record_feedback(Feedback(given.prediction_id, "Cat"))
        with pytest.raises(LogUnavailableError, match="database is locked"):
            waiting.result(WAIT)
        wait_until(lambda: log.fault)
        with pytest.raises(LogUnavailableError, match="database is locked"):
            log.record_feedback(Feedback(given.prediction_id, "Cat")).result(WAIT)
        # Readers are not locked out.
        assert log.read(lambda engine: engine.connect().exec_driver_sql("SELECT 1").scalar()) == 1
        time.sleep(0.1)
        other.execute("ROLLBACK")
    settle(log)
    assert len(rows(file)) == 2
    wait_until(lambda: len(caplog.records) > 1)
    assert [record.message for record in caplog.records] == [
        (
            "prediction log: database is locked; answers go on, and up to 10000 predictions wait "
            "(serving.log.address, serving.log.queue)"
        ),
        "prediction log: recording again; 0 predictions were lost so far",
    ]


def spoil_folder(file: Path) -> None:
    file.parent.write_text("a file")


def spoil_file(file: Path) -> None:
    file.parent.mkdir()
    file.write_bytes(b"not a database" * 100)


@pytest.mark.parametrize(
    ("spoil", "repair", "fault"),
    [
        (spoil_folder, lambda file: file.parent.unlink(), "File exists"),
        (spoil_file, lambda file: file.unlink(), "file is not a database"),
    ],
)
def test_absent_database_costs_predictions_beyond_the_queue_only(
    spoil: Callable[[Path], None],
    repair: Callable[[Path], None],
    fault: str,
    file: Path,
    open_log: Callable[..., PredictionLog],
) -> None:
    spoil(file)
    log = open_log(file, queue=3)
    wait_until(lambda: log.fault)
    assert fault in str(log.fault)
    with pytest.raises(LogUnavailableError, match=fault):
        log.read(lambda engine: engine)
    for _ in range(5):
        log.put(prediction())
    assert (log.waiting, log.dropped["unavailable"]) == (3, 2)
    repair(file)
    settle(log)
    assert (len(rows(file)), log.written, log.fault) == (3, 3, None)


def test_database_that_comes_back_is_noticed_without_a_prediction(
    file: Path, open_log: Callable[..., PredictionLog]
) -> None:
    spoil_folder(file)
    log = open_log(file)
    wait_until(lambda: log.fault)
    file.parent.unlink()
    wait_until(lambda: log.fault is None)
    with pytest.raises(UnknownPredictionError):
        log.record_feedback(Feedback(new_prediction_id(), "Cat")).result(WAIT)


def test_query_that_fails_is_reported(file: Path, open_log: Callable[..., PredictionLog]) -> None:
    log = open_log(file)
    log.put(prediction())
    settle(log)
    with pytest.raises(LogUnavailableError, match="no such table: absent"):
        log.read(lambda engine: engine.connect().exec_driver_sql("SELECT * FROM absent"))


def test_feedback_that_nobody_waits_for_is_left_out(
    file: Path, open_log: Callable[..., PredictionLog]
) -> None:
    log = open_log(file)
    given = prediction()
    log.put(given)
    settle(log)
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        log.put(prediction())
        assert log.record_feedback(Feedback(given.prediction_id, "Cat")).cancel()
        wait_until(lambda: log.fault)
        other.execute("ROLLBACK")
    settle(log)
    assert not rows(file, "feedback")


def test_full_disk_is_survived(
    file: Path, open_log: Callable[..., PredictionLog], monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = {"pages": 40}

    def restrict(connection: sqlite3.Connection, *_: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {limit['pages']}")

    monkeypatch.setattr(module, "BATCH", 10)
    event.listen(Engine, "checkout", restrict)
    try:
        log = open_log(file)
        for _ in range(200):
            log.put(prediction(probabilities=bytes(1000)))
        wait_until(lambda: log.fault)
        assert log.fault == "database or disk is full"
        assert log.written > 0
        limit["pages"] = 10_000
        settle(log)
    finally:
        event.remove(Engine, "checkout", restrict)
    assert len(rows(file)) == log.written == 200


def test_read_only_database_is_reported(file: Path, open_log: Callable[..., PredictionLog]) -> None:
    Database(f"sqlite:///{file}").close()
    log = open_log(f"sqlite:///file:{file}?mode=ro&uri=true")
    log.put(prediction())
    wait_until(lambda: log.fault)
    assert "readonly" in str(log.fault)
    assert log.read(lambda engine: read_history(engine, 0, None, None)).models == ()


@pytest.mark.parametrize(
    "address",
    ["postgresql://me:secret@127.0.0.1:1/x", "postgresql://secret:secret/x"],
)
def test_an_address_that_leads_nowhere_is_a_fault_without_the_password(
    address: str, open_log: Callable[..., PredictionLog], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    log = open_log(address)
    wait_until(lambda: log.fault)
    assert "secret" not in f"{log.fault} {caplog.text}"


def test_a_missing_driver_is_named(open_log: Callable[..., PredictionLog]) -> None:
    log = open_log("postgresql+pg8000://me@127.0.0.1:1/x")
    wait_until(lambda: log.fault)
    assert log.fault == (
        "serving.log.address: its driver 'pg8000' is not installed; write postgresql+psycopg://…, or install it"
    )


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("secret", "not a supported address; name sqlite:///logs"),
        ("oracle://me:secret@host/x", "not a supported address"),
        ("postgres://me:secret@host/x", r"not a supported address; name .* postgresql\+psycopg://"),
        ("postgresql+psycopg://me:sec@ret@host/x", "has more than one @; write %40"),
    ],
)
def test_an_address_that_cannot_be_meant_is_an_error_without_the_password(address: str, message: str) -> None:
    with pytest.raises(SettingsError, match=f"^serving.log.address: {message}") as raised:
        PredictionLog(Settings(address=address))
    assert "sec" not in str(raised.value).lower()


def test_slow_database_is_reported_once(
    file: Path,
    open_log: Callable[..., PredictionLog],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "visiongate")
    write = Database.write
    monkeypatch.setattr(Database, "write", lambda self, entries: time.sleep(0.01) or write(self, entries))
    monkeypatch.setattr(module, "BATCH", 2)
    log = open_log(file, queue=4)
    wait_until(file.exists)
    for _ in range(100):
        log.put(prediction())
        time.sleep(0.001)
    settle(log)
    log.put(prediction())
    log.close()
    assert log.written + log.dropped["slow"] == 101
    messages = [record.message for record in caplog.records]
    assert messages[0] == "prediction log: the database is too slow; predictions are lost (serving.log.queue)"
    assert messages[-1] == (
        f"prediction log: the database is fast enough again; {log.dropped['slow']} predictions were lost so far"
    )


def test_refused_prediction_does_not_stop_the_others(
    file: Path, open_log: Callable[..., PredictionLog]
) -> None:
    log = open_log(file)
    first = prediction()
    for given in (first, prediction(), first, prediction(confidence=float("nan")), prediction("\ud800")):
        log.put(given)
    settle(log)
    log.put(prediction(confidence=np.float32(0.5), total_ms=np.float32(1)))
    settle(log)
    assert (log.written, log.dropped["refused"], log.fault) == (3, 3, None)
    assert len(rows(file)) == 3


def test_deleted_file_is_made_again(file: Path, open_log: Callable[..., PredictionLog]) -> None:
    log = open_log(file)
    log.put(prediction())
    settle(log)
    for part in file.parent.iterdir():
        part.unlink()
    log.put(prediction())
    settle(log)
    assert len(rows(file)) == 1


@pytest.mark.parametrize(("days", "max_rows", "kept"), [(10, 100, 3), (100, 2, 2), (100, 100, 5)])
def test_old_predictions_are_deleted_with_their_feedback(
    days: int, max_rows: int, kept: int, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "PRUNED_ROWS", 2)
    database = Database(f"sqlite:///{file}")
    given = [prediction(time_us=time.time_ns() // 1000 - age * DAY_US) for age in (1, 5, 9, 12, 50)]
    database.write(given)
    for one in given:
        database.record_feedback(Feedback(one.prediction_id, "Cat"))
    while database.prune(Retention(days, max_rows, ALL)):
        pass
    names = {one.prediction_id for one in given[:kept]}
    assert {row["prediction_id"] for row in rows(file)} == names
    assert {row["prediction_id"] for row in rows(file, "feedback")} == names


def test_the_size_of_the_log_is_limited(file: Path) -> None:
    database = Database(f"sqlite:///{file}")
    now = time.time_ns() // 1000
    database.write([prediction(time_us=now - number, probabilities=bytes(4000)) for number in range(2000)])
    size = 2000 * 4300
    assert database.prune(Retention(90, 10_000, 2 * size)) == 0
    while database.prune(Retention(90, 10_000, size // 2)):
        pass
    kept = rows(file)
    assert len(kept) == pytest.approx(1000, rel=0.2)
    assert min(row["time_us"] for row in kept) == now - len(kept) + 1
    # The space is used again.
    before = file.stat().st_size
    database.write([prediction(probabilities=bytes(4000)) for _ in range(500)])
    database.close()
    assert file.stat().st_size == before


def test_failures_are_counted_by_the_minute_and_deleted_by_age(
    file: Path, open_log: Callable[..., PredictionLog], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FAILURE_SECONDS", 0.0)
    minute = (time.time_ns() // 1000 - 2 * DAY_US) // MINUTE_US * MINUTE_US
    monkeypatch.setattr(module, "now_us", lambda: minute + 1234)
    log = open_log(file, queue=2)
    for _ in range(3):
        log.count_failure(MODEL, "canary", "timeout")
    log.count_failure(MODEL, "canary", "error")
    # The queue bounds the kinds of failures that wait, too.
    log.count_failure(MODEL, "active", "error")
    log.close()
    found = {(row["time_us"], row["role"], row["kind"]): row["count"] for row in rows(file, "failures")}
    assert found == {
        (minute, "canary", "timeout"): 3,
        (minute, "canary", "error"): 1,
    }
    database = Database(f"sqlite:///{file}")
    database.prune(Retention(1, 10_000, ALL))
    database.close()
    assert rows(file, "failures") == []


def test_log_prunes_by_itself(file: Path, open_log: Callable[..., PredictionLog]) -> None:
    log = open_log(file, days=1)
    log.close()
    Database(f"sqlite:///{file}").write([prediction(time_us=0)])
    log = open_log(file, days=1)
    wait_until(lambda: not rows(file))


def test_end_is_bounded_and_counts_what_is_lost(
    file: Path, open_log: Callable[..., PredictionLog], caplog: pytest.LogCaptureFixture
) -> None:
    log = open_log(file)
    log.put(prediction())
    settle(log)
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for _ in range(3):
            log.put(prediction())
        began = time.monotonic()
        log.close(2.0)
        assert time.monotonic() - began < 2.0
    log.put(prediction())
    assert log.dropped["closed"] == 4
    assert "3 predictions were not recorded before the end" in caplog.text
    with pytest.raises(LogUnavailableError, match="the service ends"):
        log.record_feedback(Feedback(new_prediction_id(), "Cat")).result(WAIT)


def test_log_that_was_never_started_can_be_closed(file: Path) -> None:
    log = PredictionLog(Settings(address=f"sqlite:///{file}"))
    with pytest.raises(LogUnavailableError, match="not yet open"):
        log.read(lambda engine: engine)
    log.close()
    assert not file.exists()


WRITER = """
import sys, time
from visiongate.monitoring.entries import LoggedModel, LoggedPrediction, new_prediction_id
from visiongate.monitoring.prediction_log import PredictionLog
from visiongate.settings.serving import PredictionLog as Settings

log = PredictionLog(Settings(address=f"sqlite:///{sys.argv[1]}"))
log.start()
model = LoggedModel("pets", "3", "a" * 64, ("Cat", "Dog"))
while True:
    log.put(LoggedPrediction(new_prediction_id(), model, "Dog", 0.9, 20.0, probabilities=bytes(2000)))
    time.sleep(0.0002)
"""


@pytest.mark.slow
def test_killed_process_leaves_a_readable_database(
    file: Path, open_log: Callable[..., PredictionLog]
) -> None:
    generator, written = np.random.default_rng(0), 0
    for _ in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(file)], env={**os.environ, "PYTHONPATH": str(ROOT / "src")}
        )
        try:
            wait_until(lambda before=written: count_rows(file) > before)
            time.sleep(generator.uniform(0, 0.3))
        finally:
            process.kill()
            process.wait()
        with closing(sqlite3.connect(file)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert count_rows(file) > written
        written = count_rows(file)
    log = open_log(file)
    log.put(prediction())
    settle(log)
    assert len(rows(file)) == written + 1
