"""``POST /feedback`` and ``GET /performance``, from predictions over HTTP to scores."""

import asyncio
import io
import json
import re
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from sqlalchemy import insert

from pooled_models import write_pooled_model
from served import Application, application
from visiongate.monitoring import prediction_log, watch
from visiongate.monitoring.database import Database
from visiongate.monitoring.report import Question, Reporter
from visiongate.monitoring.tables import decisions, drift_checks
from visiongate.serving.routes import feedback
from visiongate.serving.web.keys import make_key

Talk = Callable[[Application], Coroutine[Any, Any, None]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "pooled.onnx"
    write_pooled_model(path)
    return path


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction_log, "GATHER_SECONDS", 0.01)


@pytest.fixture
def serve(model: Path, tmp_path: Path) -> Callable[..., None]:
    def run(talk: Talk, **changes: str) -> None:
        keys = changes.pop("keys", "[]")
        log = {"enabled": "true", "address": f"sqlite:///{tmp_path}/log.sqlite", **changes}
        environment = {f"VISIONGATE_SERVING__LOG__{name.upper()}": value for name, value in log.items()}
        environment["VISIONGATE_SERVING__KEYS"] = keys

        async def start() -> None:
            async with application(model, environment) as app:
                await talk(app)

        asyncio.run(start())

    return run


def photo(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), (shade, 255 - shade, 0)).save(buffer, "PNG")
    return buffer.getvalue()


async def predict(app: Application, shade: int = 100) -> dict[str, Any]:
    answer: dict[str, Any] = (await app.client.post("/predict", content=photo(shade))).json()
    return answer


async def label(app: Application, prediction: dict[str, Any], name: str) -> httpx.Response:
    body = {"prediction_id": prediction["prediction_id"], "label": name}
    return await app.client.post("/feedback", json=body)


async def report(app: Application, query: str = "") -> dict[str, Any]:
    """Return a report in which all predictions are counted."""
    log = app.service.log
    assert log is not None
    while log.waiting:  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    response = await app.client.get(f"/performance{query}")
    assert response.status_code == httpx.codes.OK, response.text
    answer: dict[str, Any] = response.json()
    return answer


def test_feedback_becomes_accuracy(serve: Callable[..., None]) -> None:
    async def talk(app: Application) -> None:
        answers = [await predict(app, shade) for shade in (0, 100, 200, 250)]
        wrong = next(name for name in "abc" if name != answers[0]["predicted_label"])
        response = await label(app, answers[0], wrong)
        assert response.json() == {
            "prediction_id": answers[0]["prediction_id"],
            "label": wrong,
            "predicted_label": answers[0]["predicted_label"],
            "correct": False,
            "replaced": False,
            "asked": False,
        }
        for answer in answers[1:3]:
            assert (await label(app, answer, answer["predicted_label"])).json()["correct"] is True
        # It is counted once.
        again = await label(app, answers[1], answers[1]["predicted_label"])
        assert again.json()["replaced"] is True

        found = await report(app)
        text = (await app.client.get("/metrics")).text
        assert 'visiongate_feedback_total{asked="false",correct="true"} 2.0' in text
        [entry] = found["models"]
        assert {name: entry[name] for name in ("name", "version", "sha256")} == answers[0]["model"]
        assert (entry["predictions"], entry["shadow"], entry["feedback"]["labeled"]) == (4, False, 3)
        assert entry["feedback"]["accuracy"]["value"] == pytest.approx(2 / 3)
        assert [each["name"] for each in entry["feedback"]["classes"]] == ["a", "b", "c"]
        assert sum(each["predicted"] for each in entry["feedback"]["classes"]) == 4
        assert entry["latency_ms"]["p50"] <= entry["latency_ms"]["p99"]
        assert found["all"]["feedback"] == entry["feedback"]
        assert sum(hour["predictions"] for hour in found["by_hour"]) == 4
        assert "report mistakes more often" in found["note"]
        assert (entry["accuracy"], entry["accuracy_from"]) == (entry["feedback"]["accuracy"], "volunteered")
        assert (entry["volunteered"]["labeled"], entry["sampled"]["labeled"]) == (3, 0)
        assert (entry["sampled"]["asked"], entry["sampled"]["accuracy"]) == (0, None)
        assert sum(entry["confidences"]) == 4
        assert entry["roles"] == {"active": 4}
        assert entry["by_hour"] == found["by_hour"]
        assert entry["feedback"]["calibration"]["ece"]["low"] == 0
        assert found["log"] == {
            "recording": True,
            "waiting": 0,
            "dropped": dict.fromkeys(prediction_log.DROP_REASONS, 0),
        }
        # The model of the process may be named as in requests, too.
        for name in ("pooled", "default"):
            assert (await report(app, f"?model={name}&hours=1"))["all"]["predictions"] == 4
        assert (await report(app, "?model=other"))["models"] == []

    serve(talk, ask_share="0.0")


def test_the_service_asks_and_counts_who_replies(
    serve: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "SECONDS", 0.02)
    monkeypatch.setattr(watch, "PAUSE_FACTOR", 0.0)

    async def talk(app: Application) -> None:
        answers = [await predict(app, shade) for shade in (0, 100, 200, 250)]
        assert [each["feedback_requested"] for each in answers] == [True] * 4
        for answer in answers[:3]:
            assert (await label(app, answer, answer["predicted_label"])).json()["asked"] is True
        found = (await report(app))["all"]
        assert found["sampled"]["asked"] == 4
        assert found["sampled"]["response_rate"]["value"] == 0.75
        assert (found["sampled"]["worst"], found["sampled"]["best"]) == (0.75, 1.0)
        assert (found["accuracy"]["value"], found["accuracy_from"]) == (1.0, "sampled")
        assert found["volunteered"]["labeled"] == 0

        version = answers[0]["model"]["sha256"][:12]
        labels = f'{{model="pooled",model_version="{version}",source="sampled"}}'
        # The thread of the log refreshes them.
        while f"visiongate_accuracy_labels{labels} 3.0" not in (  # noqa: ASYNC110
            text := (await app.client.get("/metrics")).text
        ):
            await asyncio.sleep(0.02)
        assert "visiongate_feedback_requests_total 4.0" in text
        assert 'visiongate_feedback_total{asked="true",correct="true"} 3.0' in text
        gauges = dict(re.findall(rf"visiongate_accuracy(\w*){re.escape(labels)} (.*)", text))
        assert {name: float(value) for name, value in gauges.items()} == {
            "": 1.0,
            "_low": pytest.approx(found["accuracy"]["low"]),
            "_high": 1.0,
            "_labels": 3.0,
        }
        assert 'source="volunteered"' not in text

    serve(talk, ask_share="1.0")


def test_feedback_names_the_key_but_the_report_only_counts(serve: Callable[..., None]) -> None:
    keys = [make_key(name, is_admin=False) for name in ("phone", "tablet")]
    headers = [{"Authorization": f"Bearer {secret}"} for secret, _ in keys]

    async def talk(app: Application) -> None:
        for header, times in zip(headers, (3, 1), strict=True):
            for shade in range(times):
                response = await app.client.post("/predict", content=photo(shade), headers=header)
                answer = response.json()
                wrong = next(name for name in "abc" if name != answer["predicted_label"])
                truth = wrong if times == 3 else answer["predicted_label"]
                body = {"prediction_id": answer["prediction_id"], "label": truth}
                assert (
                    await app.client.post("/feedback", json=body, headers=header)
                ).status_code == httpx.codes.OK
        response = await app.client.get("/performance", headers=headers[0])
        found = response.json()["all"]["feedback"]
        assert (found["givers"], found["labeled"], found["accuracy"]["value"]) == (2, 4, 0.25)
        assert found["others"]["removed"] == 3
        assert (found["others"]["labeled"], found["others"]["accuracy"]["value"]) == (1, 1.0)
        assert "phone" not in response.text

    serve(talk, keys=json.dumps([key.line for _, key in keys]))


def test_last_feedback_counts(serve: Callable[..., None]) -> None:
    async def talk(app: Application) -> None:
        answer = await predict(app)
        for name in ("abc".replace(answer["predicted_label"], "")[0], answer["predicted_label"]):
            await label(app, answer, name)
        assert (await report(app))["all"]["feedback"]["accuracy"]["value"] == 1.0

    serve(talk)


def test_feedback_on_an_answer_counts_for_the_shadow(serve: Callable[..., None]) -> None:
    async def talk(app: Application) -> None:
        slot = app.service.slot(None)
        slot.shadow, slot.shadow_share = replace(slot.require()), 1.0
        answer = await predict(app)
        await asyncio.gather(*app.service._background)  # noqa: SLF001
        await label(app, answer, answer["predicted_label"])
        found = await report(app)
        assert [(each["shadow"], each["feedback"]["labeled"]) for each in found["models"]] == [
            (False, 1),
            (True, 1),
        ]
        assert (found["all"]["predictions"], found["all"]["feedback"]["labeled"]) == (1, 1)

    serve(talk)


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (b"", "invalid_request", "Invalid JSON"),
        (b"[1]", "invalid_request", "send JSON such as"),
        (b'{"label": "a"}', "invalid_request", "prediction_id: Field required"),
        (
            b'{"prediction_id": 1, "label": "a"}',
            "invalid_request",
            "prediction_id: Input should be a valid string",
        ),
        (b'{"prediction_id": "x", "label": "a", "more": 1}', "invalid_request", "more"),
        (b'{"prediction_id": "\\ud800", "label": "a"}', "invalid_request", "Invalid JSON"),
        (json.dumps({"prediction_id": "x" * 65, "label": "a"}).encode(), "invalid_request", "pattern"),
        (b" " * 5000, "body_too_large", "4,096"),
        (b'{"prediction_id": "x", "label": "a"}', "unknown_prediction", "no prediction with this id"),
    ],
)
def test_invalid_feedback_is_a_problem(
    body: bytes, kind: str, words: str, serve: Callable[..., None]
) -> None:
    async def talk(app: Application) -> None:
        response = await app.client.post("/feedback", content=body)
        problem = response.json()
        assert problem["type"].endswith(f"#{kind}")
        assert words in problem["detail"]
        assert response.status_code == problem["status"]

    serve(talk)


def test_wrong_class_names_the_classes(serve: Callable[..., None]) -> None:
    async def talk(app: Application) -> None:
        response = await label(app, await predict(app), "d")
        assert response.status_code == httpx.codes.UNPROCESSABLE_ENTITY
        problem = response.json()
        assert problem["detail"] == "'d' is not a class of the model; choose one of a, b, c"
        assert problem["classes"] == ["a", "b", "c"]

    serve(talk)


def test_predictions_go_on_without_a_database(serve: Callable[..., None], tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    async def talk(app: Application) -> None:
        answers = [await predict(app) for _ in range(3)]
        answer = answers[-1]
        assert answer["predicted_label"] in "abc"
        for response in (await label(app, answer, "a"), await app.client.get("/performance")):
            assert response.status_code == httpx.codes.SERVICE_UNAVAILABLE
            assert response.headers["Retry-After"] == "5"
            assert response.json()["type"].endswith("#log_unavailable")
            assert "file" not in response.text
        log = app.service.log
        assert log is not None
        assert log.fault is not None
        metrics = (await app.client.get("/metrics")).text
        assert "visiongate_prediction_log_waiting 2.0" in metrics
        assert "visiongate_prediction_log_recording 0.0" in metrics
        lost = re.findall(
            r"visiongate_prediction_log_dropped_total{reason=\"(?:unavailable|slow)\"} (.*)", metrics
        )
        assert sum(map(float, lost)) == 1

    serve(talk, address=f"sqlite:///{tmp_path}/file/log.sqlite", queue="2")


def test_log_that_is_switched_off_is_a_problem(serve: Callable[..., None]) -> None:
    async def talk(app: Application) -> None:
        answer = await predict(app)
        for response in (await label(app, answer, "a"), await app.client.get("/performance")):
            assert response.status_code == httpx.codes.SERVICE_UNAVAILABLE
            assert "set serving.log.enabled to true" in response.json()["detail"]

    serve(talk, enabled="false")


def test_reports_are_remembered_and_few_may_wait(
    serve: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Question] = []
    make = Reporter.report
    monkeypatch.setattr(Reporter, "report", lambda self, asked: made.append(asked) or make(self, asked))

    async def talk(app: Application) -> None:
        await predict(app)
        await report(app)
        same = await asyncio.gather(*(app.client.get("/performance?hours=1") for _ in range(5)))
        assert [response.status_code for response in same] == [200] * 5
        assert made.count(Question(1)) == 1
        monkeypatch.setattr(feedback, "MAX_WAITING", 2)
        asked = [app.client.get(f"/performance?hours={hours}") for hours in range(2, 6)]
        responses = await asyncio.gather(*asked)
        assert sorted(response.status_code for response in responses) == [200, 200, 429, 429]
        for hours in range(10, 50):
            await app.client.get(f"/performance?hours={hours}")
        await report(app, "?hours=1")
        assert made.count(Question(1)) == 2

    serve(talk)


def test_drift_checks_and_decisions_are_shown(serve: Callable[..., None], tmp_path: Path) -> None:
    async def talk(app: Application) -> None:
        await predict(app)
        await report(app)
        empty = (await app.client.get("/monitoring")).json()
        assert empty == {"drift": None, "checks": [], "decisions": []}

    serve(talk)

    database = Database(f"sqlite:///{tmp_path}/log.sqlite")
    with database.engine.begin() as connection:
        for time_us, verdict in ((1_000_000, "drift"), (2_000_000, "no drift")):
            values = {"time_us": time_us, "verdict": verdict, "report": json.dumps({"verdict": verdict})}
            connection.execute(insert(drift_checks).values(values))
            connection.execute(insert(decisions).values(kind="rollout", **values))
    database.close()

    async def look(app: Application) -> None:
        await predict(app)
        await report(app)
        found = (await app.client.get("/monitoring")).json()
        assert found["drift"] == {"verdict": "no drift"}
        assert [each["verdict"] for each in found["checks"]] == ["no drift", "drift"]
        assert found["decisions"][1] == {
            "time": "1970-01-01T00:00:01Z",
            "kind": "rollout",
            "verdict": "drift",
            "report": {"verdict": "drift"},
        }

    serve(look)


def test_checks_of_a_log_that_is_away_or_switched_off_are_a_problem(
    serve: Callable[..., None], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()

    async def talk(app: Application) -> None:
        response = await app.client.get("/monitoring")
        assert response.status_code == httpx.codes.SERVICE_UNAVAILABLE
        assert response.json()["type"].endswith("#log_unavailable")

    serve(talk, enabled="false")
    serve(talk, address=f"sqlite:///{tmp_path}/file/log.sqlite")
