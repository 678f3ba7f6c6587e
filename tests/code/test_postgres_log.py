"""The prediction log in PostgreSQL, which several replicas share: a real server, its faults, and its password."""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Barrier, Thread

import pytest
from sqlalchemy import insert

import waiting
from command_line import run_cli
from image_samples import encode, photo
from pooled_models import write_pooled_model
from postgres import PASSWORD, PostgresServer, needs_postgres, postgres_server
from served import application
from visiongate.monitoring import prediction_log
from visiongate.monitoring.database import Database, Retention
from visiongate.monitoring.decision_report import DecisionReport
from visiongate.monitoring.drift.store import read_latest_report
from visiongate.monitoring.entries import (
    Feedback,
    ImageFacts,
    LoggedModel,
    LoggedPrediction,
    LogUnavailableError,
    new_prediction_id,
)
from visiongate.monitoring.history import read_history
from visiongate.monitoring.prediction_log import PredictionLog
from visiongate.monitoring.standing_store import read_standing
from visiongate.monitoring.tables import decisions
from visiongate.monitoring.times import DAY_US
from visiongate.monitoring.watch import read_accuracies
from visiongate.settings.serving import PredictionLog as Settings

pytestmark = [needs_postgres, pytest.mark.slow]
MODEL = LoggedModel("pets", "3", "a" * 64, ("Cat", "Dog"))
WAIT = 15.0
wait_until = partial(waiting.wait_until, seconds=WAIT)
# Bytes, more than any test writes.
ALL = 10**12
OLD_ID = "01a22415-d9e1-7171-a52a-e91ecee13efa"
OpenLog = Callable[..., PredictionLog]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture
def database(server: PostgresServer) -> str:
    return server.new_database()


@pytest.fixture
def open_log(server: PostgresServer, database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenLog]:
    monkeypatch.setattr(prediction_log, "GATHER_SECONDS", 0.01)
    monkeypatch.setattr(prediction_log, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(prediction_log, "LONGEST_PAUSE", 0.1)
    logs = []

    def start(address: str = "", **changes: object) -> PredictionLog:
        log = PredictionLog(Settings(address=address or server.address(database), **changes))  # type: ignore[arg-type]
        log.start()
        logs.append(log)
        return log

    yield start
    for log in logs:
        log.close(1.0)


def prediction(label: str = "Dog", **changes: object) -> LoggedPrediction:
    return replace(LoggedPrediction(new_prediction_id(), MODEL, label, 0.9, 20.0), **changes)  # type: ignore[arg-type]


def test_feedback_may_reach_another_replica_than_the_prediction(
    server: PostgresServer, database: str, tmp_path: Path
) -> None:
    model = tmp_path / "model.onnx"
    write_pooled_model(model)
    environment = {
        "VISIONGATE_SERVING__LOG__ENABLED": "true",
        "VISIONGATE_SERVING__LOG__ADDRESS": server.address(database),
    }

    async def talk() -> None:
        async with AsyncExitStack() as stack:
            first, second = [
                (await stack.enter_async_context(application(model, environment))).client for _ in range(2)
            ]
            image = encode(photo(40, 30), "PNG")
            answers = [(await first.post("/predict", content=image)).json() for _ in range(3)]
            # The first has not written yet: predictions gather for 0.2 s.
            for answer in answers:
                given = {"prediction_id": answer["prediction_id"], "label": answer["predicted_label"]}
                response = await second.post("/feedback", json=given)
                assert response.status_code == 200, response.text
                assert response.json()["correct"]
            for client in (first, second):
                found = (await client.get("/performance")).json()["all"]
                assert (found["predictions"], found["feedback"]["labeled"]) == (3, 3)
                assert found["feedback"]["accuracy"]["value"] == 1
                health = await client.get("/health")
                assert health.json()["log"] == {"waiting": 0, "dropped": 0, "recording": True}
                assert PASSWORD not in health.text
            unknown = {"prediction_id": OLD_ID, "label": "a"}
            assert (await second.post("/feedback", json=unknown)).status_code == 404

    asyncio.run(talk())


def test_replicas_that_start_and_write_at_once_lose_nothing(
    server: PostgresServer, database: str, open_log: OpenLog, caplog: pytest.LogCaptureFixture
) -> None:
    replicas, each = 6, 300
    shared = prediction(time_us=1)
    barrier, logs, receipts = Barrier(replicas), [], []

    def replicate() -> None:
        barrier.wait()
        log = open_log()
        logs.append(log)
        for number in range(each):
            # Models that nobody has written before, in another order in each replica.
            version = str((number + len(logs)) % 7)
            log.put(prediction(model=replace(MODEL, version=version)))
        wait_until(lambda: not log.waiting)
        barrier.wait()
        if log is logs[0]:
            log.put(shared)
            wait_until(lambda: not log.waiting)
        barrier.wait()
        receipts.append(log.record_feedback(Feedback(shared.prediction_id, "Cat")).result(WAIT))

    threads = [Thread(target=replicate) for _ in range(replicas)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(receipts) == replicas
    assert [sum(log.dropped.values()) for log in logs] == [0] * replicas
    assert "prediction log" not in caplog.text
    assert server.query(database, "SELECT count(*) FROM predictions") == [(replicas * each + 1,)]
    assert server.query(database, "SELECT count(*) FROM models") == [(7,)]
    assert server.query(database, "SELECT label FROM feedback") == [("Cat",)]


def test_a_server_that_stops_and_comes_back(
    server: PostgresServer, database: str, open_log: OpenLog, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "visiongate")
    log = open_log(queue=50)
    log.put(prediction())
    wait_until(lambda: log.written == 1)
    server.stop()
    try:
        for _ in range(80):
            start = time.perf_counter()
            log.put(prediction())
            # A connection that is tried would take five seconds.
            assert time.perf_counter() - start < 2
        wait_until(lambda: log.fault)
        log.put(prediction())
        with pytest.raises(LogUnavailableError):
            log.record_feedback(Feedback("any", "Cat")).result(WAIT)
        with pytest.raises(LogUnavailableError):
            log.read(lambda engine: read_history(engine, 0, None, None))
        assert log.waiting == 50
        lost = log.dropped["slow"] + log.dropped["unavailable"]
        assert lost == 31
    finally:
        server.start()
    wait_until(lambda: not log.waiting)

    assert log.fault is None
    assert server.query(database, "SELECT count(*) FROM predictions") == [(51,)]
    assert log.read(lambda engine: read_history(engine, 0, None, None)).models[0].tally.predictions == 51
    texts = [record.message for record in caplog.records if "prediction log" in record.message]
    assert sum("answers go on, and up to 50 predictions wait" in text for text in texts) == 1
    assert sum("recording again" in text for text in texts) == 1
    assert PASSWORD not in caplog.text


def test_tables_that_vanish_are_made_again(server: PostgresServer, database: str, open_log: OpenLog) -> None:
    log = open_log()
    log.put(prediction())
    wait_until(lambda: log.written == 1)
    server.query(database, "DROP TABLE predictions, models, feedback CASCADE")
    log.put(prediction())
    wait_until(lambda: log.written == 2)
    assert server.query(database, "SELECT count(*) FROM predictions JOIN models USING (model_id)") == [(1,)]


def test_a_reference_is_stored_when_the_server_is_back_and_again_in_another_database(
    server: PostgresServer, database: str, open_log: OpenLog
) -> None:
    def stored() -> list[tuple[object, ...]]:
        query = "SELECT version, encode(content, 'escape') FROM drift_references JOIN models USING (model_id)"
        return server.query(database, query)

    log = open_log()
    log.put(prediction())
    wait_until(lambda: log.written == 1)
    server.stop()
    try:
        log.keep_reference(MODEL, b"reference")
        wait_until(lambda: log.fault)
    finally:
        server.start()
    wait_until(lambda: stored() == [("3", "reference")])
    assert log.fault is None

    # As after a restart from an empty disk. The model has another number than before.
    server.query(database, "DROP SCHEMA public CASCADE")
    server.query(database, "CREATE SCHEMA public")
    log.put(prediction(model=replace(MODEL, version="4")))
    wait_until(lambda: log.written == 2)
    wait_until(lambda: stored() == [("3", "reference")])


def test_a_user_who_may_not_make_tables_can_write_to_those_that_exist(
    server: PostgresServer, database: str, open_log: OpenLog
) -> None:
    Database(server.address(database)).close()
    server.query(database, "CREATE USER writer PASSWORD 'weak'")
    server.query(database, "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO writer")
    server.query(database, "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO writer")
    log = open_log(server.address(database, "weak").replace("tester", "writer"))
    log.put(prediction())
    wait_until(lambda: log.written == 1 or log.fault)
    assert log.fault is None


def test_the_password_is_in_no_message(
    server: PostgresServer, database: str, open_log: OpenLog, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    log = open_log(server.address(database, "wr%ng/" + PASSWORD))
    wait_until(lambda: log.fault)
    assert "password authentication failed" in str(log.fault)
    for part in (PASSWORD, "wr%ng", "wr%25ng"):
        assert part not in f"{log.fault} {caplog.text}"


def test_both_databases_count_alike(server: PostgresServer, database: str, tmp_path: Path) -> None:
    entries = [
        prediction(
            "Dog" if number % 3 else "Cat",
            time_us=number * DAY_US // 7,
            confidence=0.5 + number / 100,
            sure=None if number % 5 == 0 else number % 2 == 0,
            out_of_distribution=number % 4 == 0,
            probabilities=bytes(range(8)),
            shadow_of=None if number % 6 else "another",
            role="canary" if number % 7 == 0 else "active",
            asked=number % 3 == 1,
            image=ImageFacts(str(number % 10), 10, 8, 8, "PNG", "L", 0.5, 0.1),
        )
        for number in range(50)
    ]
    histories, gauges = [], []
    for address in (server.address(database), f"sqlite:///{tmp_path}/log.sqlite"):
        log = Database(address)
        assert log.write(entries) == 0
        log.record_feedback(Feedback(entries[1].prediction_id, "Cat"))
        for entry in entries[1:40:2]:
            log.record_feedback(Feedback(entry.prediction_id, "Dog", given_by="phone"))
        histories.append(read_history(log.engine, DAY_US, "pets", "3"))
        gauges.append(read_accuracies(log.engine, DAY_US))
        report = DecisionReport(checked_at=datetime.now(UTC), verdict="hold", advice="wait")
        values = {"time_us": 1, "kind": "rollout", "verdict": "hold", "report": report.model_dump_json()}
        with log.engine.begin() as connection:
            connection.execute(insert(decisions), [values, {**values, "time_us": 2, "verdict": "promote"}])
        standing = read_standing(log.engine)
        assert (standing.drift, [each.verdict for each in standing.decisions]) == (None, ["promote", "hold"])
        log.close()
    assert gauges[0] == gauges[1]
    assert {each.source for each in gauges[0]} == {"sampled", "volunteered"}
    first, second = histories
    for one, other in zip(first.models, second.models, strict=True):
        assert (one.model, one.shadow, one.tally.by_class) == (
            other.model,
            other.shadow,
            other.tally.by_class,
        )
        assert one.by_hour == other.by_hour
        for name in ("first_us", "last_us", "sure", "sure_known", "unlike", "unlike_known"):
            assert getattr(one.tally, name) == getattr(other.tally, name)
        for name in ("roles", "asked", "confidences", "feedback", "repeats"):
            assert getattr(one.tally, name) == getattr(other.tally, name)
        assert one.tally.feedback_confidence == pytest.approx(other.tally.feedback_confidence)
        assert one.tally.confidence == pytest.approx(other.tally.confidence)
        assert one.tally.latencies.tolist() == other.tally.latencies.tolist()
        assert one.latencies.tolist() == other.latencies.tolist()


def test_a_repeated_or_unstorable_prediction_costs_no_other(server: PostgresServer, database: str) -> None:
    log = Database(server.address(database))
    known = prediction()
    assert log.write([known]) == 0
    assert log.write([prediction(), known, prediction("NUL \x00"), prediction()]) == 2
    assert server.query(database, "SELECT count(*) FROM predictions") == [(3,)]
    log.close()


def test_replicas_delete_old_predictions_together(
    server: PostgresServer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("visiongate.monitoring.database.PRUNED_ROWS", 100)
    logs = [Database(server.address(database)) for _ in range(2)]
    now = time.time_ns() // 1000
    logs[0].write([prediction(time_us=now - number) for number in range(1000)])
    deleted: list[int] = []

    def prune(log: Database) -> None:
        while count := log.prune(Retention(1, 300, ALL)):
            deleted.append(count)

    threads = [Thread(target=prune, args=(log,)) for log in logs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for log in logs:
        log.close()
    assert sum(deleted) == 700
    assert server.query(database, "SELECT count(*) FROM predictions") == [(300,)]


def test_answers_go_on_while_the_server_is_away(
    server: PostgresServer, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also feedback, reports, the metrics and the images; and what fitted the queue is recorded after."""
    monkeypatch.setattr(prediction_log, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(prediction_log, "LONGEST_PAUSE", 0.1)
    model = tmp_path / "model.onnx"
    write_pooled_model(model)
    settings = {
        "ENABLED": "true",
        "ADDRESS": server.address(database),
        "QUEUE": "30",
        "IMAGES__KEEP": "all",
        "IMAGES__FOLDER": str(tmp_path / "images"),
    }
    environment = {f"VISIONGATE_SERVING__LOG__{name}": value for name, value in settings.items()}

    async def talk() -> None:
        async with application(model, environment) as app:
            log, client = app.service.log, app.client
            assert log is not None

            async def predict(side: int) -> dict[str, str]:
                response = await client.post("/predict", content=encode(photo(side, 30), "PNG"))
                assert response.status_code == 200, response.text
                return dict(response.json())

            async def predict_all(first: int, count: int) -> list[dict[str, str]]:
                start = time.perf_counter()
                answers = await asyncio.gather(*(predict(first + each) for each in range(count)))
                assert time.perf_counter() - start < WAIT
                return answers

            async def until(condition: Callable[[], object]) -> None:
                await asyncio.to_thread(wait_until, condition)

            before = await predict_all(20, 10)
            await until(lambda: log.written == 10)
            traffic = asyncio.create_task(predict_all(100, 40))
            await asyncio.to_thread(server.stop)
            await traffic
            await until(lambda: log.fault)
            during = await predict_all(200, 40)
            given = {"prediction_id": before[0]["prediction_id"], "label": "a"}
            for response in (await client.post("/feedback", json=given), await client.get("/performance")):
                assert response.status_code == 503
                assert PASSWORD not in response.text
            health = (await client.get("/health")).json()["log"]
            assert not health["recording"]
            assert health["waiting"] == 30
            assert "visiongate_prediction_log_recording 0.0" in (await client.get("/metrics")).text
            await asyncio.to_thread(server.start)
            await until(lambda: not log.waiting)
            assert log.fault is None
            lost = sum(log.dropped.values())
            assert log.written + lost == len(before) + 40 + len(during)
            assert (await client.post("/feedback", json=given)).status_code == 200
            await predict_all(300, 5)
            await until(lambda: not log.waiting)
            [(recorded, kept)] = server.query(
                database, "SELECT count(*), count(image_sha256) FROM predictions"
            )
            assert recorded == kept == log.written
            # An image without its prediction would be of no use.
            names = {
                name for (name,) in server.query(database, "SELECT image_sha256 FROM predictions WHERE kept")
            }
            images = app.service.images
            assert images is not None
            await until(lambda: not images.waiting_bytes)
            assert {path.stem for path in (tmp_path / "images").glob("*/*")} == names

    asyncio.run(talk())


def test_the_size_of_the_log_is_limited(server: PostgresServer, database: str) -> None:
    log = Database(server.address(database))
    now = time.time_ns() // 1000
    # PostgreSQL compresses what can be compressed.
    log.write([prediction(time_us=now - number, probabilities=os.urandom(4000)) for number in range(2000)])
    [(size,)] = server.query(database, "SELECT pg_total_relation_size('predictions')")
    assert log.prune(Retention(90, 10_000, 2 * size)) == 0
    while log.prune(Retention(90, 10_000, size // 2)):
        pass
    log.close()
    [(kept, oldest)] = server.query(database, "SELECT count(*), min(time_us) FROM predictions")
    assert kept == pytest.approx(1000, rel=0.3)
    assert oldest == now - kept + 1


def test_drift_is_found_and_recorded(
    server: PostgresServer, database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VISIONGATE_SERVING__LOG__ADDRESS", server.address(database))
    monkeypatch.setenv("VISIONGATE_MONITORING__DRIFT__MAX_IMAGES", "150")
    now, log = time.time_ns() // 1000, Database(server.address(database))
    log.write([prediction("Dog" if number % 2 else "Cat", time_us=number) for number in range(1000)])
    log.write([prediction("Dog", time_us=now - number) for number in range(400)])

    assert [run_cli("drift"), run_cli("drift")] == [1, 1]

    report = read_latest_report(log.engine)
    log.close()
    assert report is not None
    assert report.state().drifted == {"flood": False, "classes": True, "confidence": False}
    assert (report.models[0].window.predictions, report.models[0].window.compared) == (400, 134)
    assert server.query(database, "SELECT count(*) FROM first_predictions") == [(1,)]
