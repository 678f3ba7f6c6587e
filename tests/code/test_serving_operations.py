"""What runs around the routes: health, metrics, the log, the headers and the problems of every answer."""

import asyncio
import io
import json
import logging
import shutil
import threading
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from PIL import Image
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from captured_log import captured
from image_samples import encode, photo
from pooled_models import write_pooled_model
from served import Application, application
from tiny_models import add_reliability, write_threshold_model
from visiongate.monitoring.entries import LoggedModel
from visiongate.monitoring.watch import FeedbackAccuracy, Watch
from visiongate.records.files import sha256_of
from visiongate.records.interval import Interval
from visiongate.records.served_model import ServedModel, write_served_folder
from visiongate.serving.metrics import CLASS_SERIES, HTTP_SERIES, OTHER, Metrics
from visiongate.serving.routes.pages import PAGES
from visiongate.serving.sources.registration_time import add_registration_time
from visiongate.serving.web import request_log
from visiongate.serving.web.keys import make_key
from visiongate.serving.web.problems import MEDIA_TYPE, PROBLEMS
from visiongate.serving.web.request_context import RequestContext, current_request, read_context
from visiongate.serving.web.request_log import JsonFormatter, TextFormatter, configure_log
from visiongate.settings.serving import Serving

Result = TypeVar("Result")
Samples = dict[tuple[str, frozenset[str]], float]
PHOTO = encode(photo(40, 30), "PNG")
NOT_BY_CLIENTS = {
    "conflict",
    "internal",
    "load_failed",
    "log_unavailable",
    "no_previous_version",
    "not_ready",
    "registry_unavailable",
}
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "pooled.onnx"
    write_pooled_model(path)
    return path


def run(work: Coroutine[Any, Any, Result]) -> Result:
    return asyncio.run(work)


def samples(text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def read_metrics(app: Application) -> Samples:
    return samples((await app.client.get("/metrics")).text)


def get(model: Path, path: str, environment: dict[str, str] | None = None, **request: Any) -> httpx.Response:  # noqa: ANN401 - as httpx
    async def send() -> httpx.Response:
        async with application(model, environment) as app:
            return await app.client.request(request.pop("method", "GET"), path, **request)

    return run(send())


@asynccontextmanager
async def starting(model: Path, environment: dict[str, str] | None = None) -> AsyncIterator[Application]:
    """A service whose model cannot be loaded."""
    async with application(model, environment, wait=False) as app:
        while not app.service.slots["default"].problem:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        yield app


def test_a_model_that_cannot_be_loaded_is_never_ready_and_says_why(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"\x08no model")

    async def check() -> None:
        async with starting(broken) as app:
            assert (await app.client.get("/health/live")).status_code == 200
            for path in ("/health/ready", "/health/startup"):
                answer = await app.client.get(path)
                assert answer.status_code == 503
                assert answer.headers["retry-after"] == "1"
                assert "broken.onnx" in answer.json()["detail"]
            status = (await app.client.get("/health")).json()
            assert status["status"] == "starting"
            assert "broken.onnx" in status["models"]["default"]["problem"]
            found = await read_metrics(app)
            assert found["visiongate_model_reloads_total", frozenset({"failed"})] == 1
            assert found["visiongate_prediction_errors_total", frozenset({"not_ready"})] == 2

    run(check())


def test_with_api_keys_paths_are_not_for_everybody(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"\x08no model")
    secret, key = make_key("phone", is_admin=False)

    async def check() -> None:
        async with starting(broken, {"VISIONGATE_SERVING__KEYS": f"['{key.line}']"}) as app:
            for path in ("/health", "/health/ready", "/health/startup"):
                answer = await app.client.get(path)
                assert "the last version of the model default is not served" in answer.text
                assert "broken.onnx" not in answer.text
            models = await app.client.get("/models", headers={"X-API-Key": secret})
            assert "broken.onnx" in models.json()[0]["problem"]

    run(check())


def test_a_loaded_model_is_described_and_checks_are_counted(model: Path) -> None:
    async def check() -> None:
        async with application(model) as app:
            for path in ("/health/live", "/health/startup", "/health/ready", "/health/ready"):
                assert (await app.client.get(path)).json() == {"status": "ok"}
            status = (await app.client.get("/health")).json()
            [version] = status["models"]["default"]["versions"]
            assert (status["status"], version["role"], version["name"]) == ("ready", "active", "pooled")
            assert status["models"]["default"]["ready"]
            assert status["log"] is None
            assert status["registry_reachable"] is None
            found = await read_metrics(app)
            for name, count in {"live": 1, "startup": 1, "ready": 2, "status": 1}.items():
                assert found["visiongate_health_check_requests_total", frozenset({name})] == count

    run(check())


def test_a_stopping_service_lives_but_is_not_ready(model: Path) -> None:
    async def check() -> None:
        async with application(model) as app:
            app.service.draining = True
            ready = await app.client.get("/health/ready")
            assert (ready.status_code, ready.headers["connection"]) == (503, "close")
            assert (await app.client.get("/health/live")).status_code == 200
            assert (await app.client.get("/health/startup")).status_code == 200
            assert (await app.client.get("/health")).json()["status"] == "draining"
            # What still arrives is answered.
            assert (await app.client.post("/predict", content=PHOTO)).status_code == 200

    run(check())


def test_the_prediction_log_and_the_registry_are_part_of_the_health(model: Path, tmp_path: Path) -> None:
    environment = {
        "VISIONGATE_SERVING__LOG__ENABLED": "true",
        "VISIONGATE_SERVING__LOG__ADDRESS": f"sqlite:///{tmp_path}/log.sqlite",
    }

    async def check() -> None:
        async with application(model, environment) as app:
            app.service.registry_reachable = False
            status = (await app.client.get("/health")).json()
            assert status["registry_reachable"] is False
            assert status["log"]["dropped"] == 0
            assert (await read_metrics(app))["visiongate_registry_reachable", frozenset()] == 0

    run(check())


def test_a_prediction_is_counted_with_its_class_version_and_stages(model: Path) -> None:
    async def check() -> None:
        async with application(model) as app:
            answer = (await app.client.post("/predict", content=PHOTO)).json()
            found = await read_metrics(app)
            version = answer["model"]["sha256"][:12]
            labels = frozenset({answer["predicted_label"], "pooled", version})
            assert found["visiongate_prediction_requests_total", labels] == 1
            for stage in ("decode", "wait", "inference", "total"):
                assert found["visiongate_prediction_latency_seconds_count", frozenset({stage})] == 1
            assert found["visiongate_http_requests_total", frozenset({"/predict", "POST", "200"})] == 1
            assert found["visiongate_model_reloads_total", frozenset({"loaded"})] == 1
            assert found["visiongate_batch_size_count", frozenset()] == 1
            assert found["visiongate_prediction_confidence_count", frozenset()] == 1
            for idle in ("requests_in_flight", "queue_length", "queued_bytes"):
                assert found[f"visiongate_{idle}", frozenset()] == 0
            info = [labels for name, labels in found if name == "visiongate_model_info"]
            assert info == [frozenset({"pooled", version, answer["model"]["sha256"], "default", "active"})]

    run(check())


def test_applications_of_one_process_count_for_themselves(model: Path) -> None:
    async def check() -> None:
        async with application(model) as one, application(model) as two:
            await one.client.get("/health/live")
            assert "visiongate_health_check_requests_total" not in {
                name for name, _ in await read_metrics(two)
            }

    run(check())


def test_metrics_are_openmetrics_on_request(model: Path) -> None:
    answer = get(model, "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert list(openmetrics.text_string_to_metric_families(answer.text))


@pytest.mark.parametrize(
    "accept", ["application/openmetrics-text; version=x", "text/plain; version=abc", "\xff", "*/*;q=", ","]
)
def test_no_accept_header_breaks_the_metrics(accept: str) -> None:
    content, media_type = Metrics().render(accept)
    assert content
    assert media_type.isascii()


def test_the_series_of_a_version_end_when_it_is_unloaded(model: Path, tmp_path: Path) -> None:
    served = tmp_path / "pooled.onnx"
    shutil.copy(model, served)

    async def versions(app: Application) -> int:
        await app.client.post("/predict", content=PHOTO)
        return sum(name == "visiongate_prediction_requests_total" for name, _ in await read_metrics(app))

    async def check() -> None:
        async with application(served) as app:
            counts = [await versions(app)]
            for temperature in (3.0, 4.0, 5.0):
                write_pooled_model(served, temperature)
                assert (await app.client.post("/admin/reload")).status_code == 200
                counts.append(await versions(app))
            # The active and the previous version.
            assert counts == [1, 2, 2, 2]

    run(check())


def gray(shade: int) -> bytes:
    return encode(Image.new("L", (4, 4), shade), "PNG")


async def send_shade(app: Application, shade: int) -> None:
    answer = await app.client.post("/predict", content=gray(shade))
    assert answer.status_code == 200


def test_doubtful_predictions_are_counted_from_zero_until_their_version_is_unloaded(tmp_path: Path) -> None:
    served = tmp_path / "model.onnx"
    doubts = ("visiongate_predictions_unsure_total", "visiongate_predictions_out_of_distribution_total")
    reliability = {"error_rate": 0.1, "min_probability": 0.3, "novelty_threshold": 200.0, "images": 50}

    async def check() -> None:
        async with application(served) as app:
            version = frozenset({"model", sha256_of(served)[:12]})
            found = await read_metrics(app)
            assert [found[name, version] for name in doubts] == [0, 0]
            for shade in (0, 127, 127, 255):
                await send_shade(app, shade)
            found = await read_metrics(app)
            assert [found[name, version] for name in doubts] == [2, 1]
            for threshold in (100, 110):
                write_threshold_model(served, threshold)
                assert (await app.client.post("/admin/reload")).status_code == 200
            # Neither the active nor the previous version can say.
            assert not {name for name, _ in await read_metrics(app)} & set(doubts)
            await send_shade(app, 127)
            assert not {name for name, _ in await read_metrics(app)} & set(doubts)

    write_threshold_model(served)
    add_reliability(served, reliability)
    run(check())


def test_a_prediction_of_a_version_that_was_just_unloaded_leaves_no_series(tmp_path: Path) -> None:
    served = tmp_path / "model.onnx"
    write_threshold_model(served)
    add_reliability(
        served, {"error_rate": 0.1, "min_probability": 0.3, "novelty_threshold": None, "images": 50}
    )

    async def check() -> None:
        async with application(served) as app:
            slot = app.service.slots["default"]
            answered = await app.service.predict(gray(127), slot)
            slot.active = None
            app.service.metrics.predicted(answered)
            names = {name for name, _ in samples(app.service.metrics.render("")[0].decode())}
            assert not {name for name in names if name.startswith("visiongate_predictions_")}

    run(check())


@pytest.mark.parametrize("time", [None, 1_760_000_000_000])
def test_the_age_of_the_active_version_is_known_if_its_registry_says_it(
    model: Path, tmp_path: Path, time: int | None
) -> None:
    version = add_registration_time(ServedModel("pooled", "3", sha256_of(model)), time)
    write_served_folder(tmp_path / "served", version, model)

    async def check() -> None:
        async with application(tmp_path / "served") as app:
            found = await read_metrics(app)
            key = "visiongate_model_registered_timestamp_seconds", frozenset({"default"})
            assert found.get(key) == (None if time is None else time / 1000)

    run(check())


def test_counters_that_alerts_watch_start_at_zero() -> None:
    found = samples(Metrics().render("")[0].decode())
    expected = {
        "visiongate_prediction_errors_total": {
            "deadline_exceeded",
            "internal",
            "log_unavailable",
            "not_ready",
            "overloaded",
        },
        "visiongate_shadow_predictions_total": {"true", "false"},
        "visiongate_model_reloads_total": {"loaded", "failed"},
    }
    text = Metrics().render("")[0].decode()
    for asked in ("true", "false"):
        for correct in ("true", "false"):
            assert f'visiongate_feedback_total{{asked="{asked}",correct="{correct}"}} 0.0' in text
    assert "visiongate_feedback_requests_total 0.0" in text
    for name, values in expected.items():
        assert {labels for each, labels in found if each == name} == {frozenset({value}) for value in values}
    assert all(value == 0 for (name, _), value in found.items() if name in expected)


def test_hostile_requests_and_many_classes_make_few_series(model: Path) -> None:
    async def check() -> None:
        async with application(model) as app:
            await app.client.post("/predict", content=PHOTO)
            for number in range(50):
                await app.client.request(f"METHOD{number}", f"/path{number}")
                await app.client.get(f"/predict?model=name{number}", headers={"X-Request-ID": f"id{number}"})
                await app.client.post("/predict", content=bytes(number))
            metrics = app.service.metrics
            for number in range(1000):
                metrics._predictions.count((f"class {number}", "pooled", "1"))  # noqa: SLF001 - a model of a thousand classes
                metrics.answered(f"/route{number}", "GET", 200)
            for kind in set(PROBLEMS) - NOT_BY_CLIENTS:
                metrics.failed(kind)
            text = metrics.render("")[0].decode()
            assert "METHOD" not in text
            assert "/path" not in text
            assert "name4" not in text
            # The classes of a version that is not loaded are not among them.
            assert len(samples(text)) + CLASS_SERIES <= 200

    run(check())


def test_only_loaded_versions_have_an_accuracy(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Watch, "refresh", lambda *_: None)

    async def check() -> None:
        environment = {
            "VISIONGATE_SERVING__LOG__ENABLED": "true",
            "VISIONGATE_SERVING__LOG__ADDRESS": f"sqlite:///{tmp_path}/log.sqlite",
        }
        async with application(model, environment) as app:
            assert app.service.log is not None
            loaded = app.service.slot(None).require()
            sha256 = loaded.origin.sha256
            versions = [LoggedModel(loaded.name, None, sha256, ("a", "b"))]
            versions += [LoggedModel(f"model {number}", "1", sha256, ("a", "b")) for number in range(50)]
            app.service.log.watch.accuracies = tuple(
                FeedbackAccuracy(version, source, Interval(0.9, 0.8, 0.95), 30)
                for version in versions
                for source in ("sampled", "volunteered")
            )
            text = app.service.metrics.render("")[0].decode()
            lines = [line for line in text.splitlines() if line.startswith("visiongate_accuracy")]
            assert len(lines) == 8
            assert all(f'model_version="{sha256[:12]}"' in line for line in lines)

    run(check())


def test_no_request_of_a_stranger_takes_the_series_of_predictions(model: Path) -> None:
    async def check() -> None:
        async with application(model) as app:
            paths = (
                *PAGES,
                "/favicon.ico",
                "/openapi.json",
                "/static/a/icon.svg",
                "/models",
                "/model",
                "/v2",
                "/health",
            )
            for method in ("GET", "HEAD", "POST", "PUT", "OPTIONS"):
                for path in (
                    *paths,
                    "/predict",
                    "/feedback",
                    "/admin/reload",
                    "/metrics",
                    "/performance",
                    "/monitoring",
                    "/x",
                ):
                    await app.client.request(method, path)
            await app.client.post("/predict", content=PHOTO)
            for status in (429, 503, 413):
                app.service.metrics.answered("/predict", "POST", status)
            found = await read_metrics(app)
            for status, count in {"200": 1, "429": 1, "503": 1}.items():
                assert (
                    found["visiongate_http_requests_total", frozenset({"/predict", "POST", status})] == count
                )
            assert found["visiongate_http_requests_total", frozenset({"/predict", "POST", "4xx"})] > 1
            assert found["visiongate_http_requests_total", frozenset({"/live", "GET", "200"})] == 2
            template = "/static/{digest}/{name}"
            assert found["visiongate_http_requests_total", frozenset({template, "GET", "200"})] == 2

    run(check())


def test_what_exceeds_the_number_of_series_is_counted_as_other() -> None:
    metrics = Metrics()
    for number in range(HTTP_SERIES + 5):
        metrics.answered(f"/route{number}", "GET", 200)
    metrics.answered("/route0", "GET", 200)
    found = samples(metrics.render("")[0].decode())
    assert found["visiongate_http_requests_total", frozenset({OTHER, "200"})] == 5
    assert found["visiongate_http_requests_total", frozenset({"/route0", "GET", "200"})] == 2


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([(b"x-request-id", b"abc-1.2/3")], ("abc-1.2/3", None)),
        ([(b"x-request-id", b"x" * 129)], None),
        ([(b"x-request-id", b"a b")], None),
        ([(b"x-request-id", b"a\nb")], None),
        ([(b"x-request-id", b"\xff")], None),
        ([(b"x-request-id", b"")], None),
        ([(b"traceparent", TRACEPARENT.encode())], (TRACE, TRACE)),
        ([(b"x-request-id", b"mine"), (b"traceparent", TRACEPARENT.encode())], ("mine", TRACE)),
        ([(b"traceparent", f"01-{TRACE}-00f067aa0ba902b7-01-more".encode())], (TRACE, TRACE)),
        ([(b"traceparent", f"{TRACEPARENT}-more".encode())], None),
        ([(b"traceparent", f"ff-{TRACE}-00f067aa0ba902b7-01".encode())], None),
        ([(b"traceparent", f"00-{'0' * 32}-00f067aa0ba902b7-01".encode())], None),
        ([(b"traceparent", f"00-{TRACE}-{'0' * 16}-01".encode())], None),
        ([(b"traceparent", TRACEPARENT.upper().encode())], None),
    ],
)
def test_the_id_of_a_request_is_that_of_the_client_if_it_is_valid(
    headers: list[tuple[bytes, bytes]], expected: tuple[str, str | None] | None
) -> None:
    context = read_context(headers)
    if expected is None:
        assert len(context.request_id) == 32
        assert context.trace_id is None
    else:
        assert (context.request_id, context.trace_id) == expected


def test_every_answer_has_the_id_and_the_security_headers(model: Path) -> None:
    async def check() -> None:
        async with application(model, {"VISIONGATE_SERVING__HSTS_SECONDS": "60"}) as app:
            for method, path in (("POST", "/predict"), ("GET", "/"), ("GET", "/nothing"), ("PUT", "/health")):
                answer = await app.client.request(method, path, headers={"X-Request-ID": "mine"})
                headers = answer.headers
                assert headers["x-request-id"] == "mine"
                assert headers["x-content-type-options"] == "nosniff"
                assert headers["referrer-policy"] == "no-referrer"
                assert headers["cross-origin-resource-policy"] == "same-origin"
                assert headers["strict-transport-security"] == "max-age=60"
                assert "camera=(self)" in headers["permissions-policy"]
                assert "default-src 'none'" in headers["content-security-policy"]
                assert len(headers.get_list("content-security-policy")) == 1
                assert "server" not in headers

    run(check())


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("GET", "/nothing", "not_found"),
        ("GET", "/health/", "not_found"),
        ("GET", "/%2e%2e/etc/passwd", "not_found"),
        ("DELETE", "/predict", "method_not_allowed"),
        ("POST", "/predict?explain=maybe", "invalid_request"),
        ("POST", "/predict", "no_image"),
        ("GET", "/v2/models/nobody", "unknown_model"),
    ],
)
def test_every_error_is_a_problem(model: Path, method: str, path: str, kind: str) -> None:
    answer = get(model, path, method=method)
    assert answer.status_code == PROBLEMS[kind].status
    assert answer.headers["content-type"] == MEDIA_TYPE
    problem = answer.json()
    assert problem["type"] == f"/docs/problems#{kind}"
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert ("error" in problem) == path.startswith("/v2")
    assert "maybe" not in problem["detail"]


def test_a_path_of_another_method_lists_its_methods(model: Path) -> None:
    assert get(model, "/predict", method="DELETE").headers["allow"] == "POST"


def test_head_is_answered_as_get_is(model: Path) -> None:
    head, got = get(model, "/health/live", method="HEAD"), get(model, "/health/live")
    assert head.status_code == 200
    assert head.headers["content-length"] == got.headers["content-length"]


def test_a_request_is_one_line_without_the_names_and_values_that_the_client_sent(model: Path) -> None:
    secret = "jane-doe"  # noqa: S105 - it stands for anything

    async def check() -> None:
        async with application(model) as app:
            await app.client.post(
                "/predict?model=default&note=jane-doe",
                files={"file": (f"{secret}.png", PHOTO)},
                headers={"X-Request-ID": "mine", "X-API-Key": secret, "User-Agent": secret},
            )
            await app.client.get(f"/{secret}")
            await app.client.get("/health/live")
            await app.client.get("/live")

    with captured() as stream:
        run(check())
    assert secret not in stream.getvalue()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    predicted, unknown, page = (line for line in lines if line["logger"] == "visiongate.access")
    assert predicted["message"] == "POST /predict 200"
    assert predicted["request_id"] == "mine"
    assert (predicted["route"], predicted["method"], predicted["status"]) == ("/predict", "POST", 200)
    assert (predicted["images"], predicted["model"]) == (1, "pooled")
    assert predicted["bytes_in"] > len(PHOTO)
    assert predicted["duration_ms"] > 0
    assert predicted["time"].endswith("+00:00")
    assert (unknown["message"], unknown["problem"]) == ("GET unknown path 404", "not_found")
    assert page["message"] == "GET /live 200"


def test_an_unexpected_error_is_in_the_log_and_not_in_the_answer(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def check() -> httpx.Response:
        async with application(model) as app:
            monkeypatch.setattr(app.service, "predict", fail)
            answer = await app.client.post("/predict", content=PHOTO, headers={"X-Request-ID": "mine"})
            found = await read_metrics(app)
            assert found["visiongate_prediction_errors_total", frozenset({"internal"})] == 1
            assert found["visiongate_http_requests_total", frozenset({"/predict", "POST", "500"})] == 1
            return answer

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("the password is 1234")

    with captured() as stream:
        answer = run(check())
    assert answer.status_code == 500
    assert answer.json()["request_id"] == "mine"
    assert "1234" not in answer.text
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    [failure] = [line for line in lines if line["level"] == "ERROR"]
    assert failure["request_id"] == "mine"
    assert "RuntimeError: the password is 1234" in failure["exception"]


def record(message: str, error: Exception | None = None) -> logging.LogRecord:
    info = None if error is None else (type(error), error, error.__traceback__)
    return logging.LogRecord("visiongate.x", logging.INFO, "", 0, message, (), info)


@pytest.mark.parametrize("text", ["one\nINFO two", "\x1b[2J", "a\u2028b", "\u202egnp", "\udcff", "\x00"])
def test_no_text_can_start_another_line_or_move_the_cursor(text: str) -> None:
    hostile = record(text, ValueError(text))
    line = JsonFormatter().format(hostile)
    assert "\n" not in line
    assert line.isprintable() or "\u2028" in text or "\u202e" in text
    assert json.loads(line)["message"] == text.encode(errors="backslashreplace").decode()
    for number, each in enumerate(TextFormatter().format(hostile).split("\n")):
        assert each.isprintable()
        assert number == 0 or each.startswith("    ")


def test_text_is_for_people_and_has_the_request() -> None:
    with captured(Serving(log_format="text")) as stream:
        token = current_request.set(RequestContext("mine", TRACE))
        try:
            logging.getLogger("visiongate.x").info("Katze zählt")
        finally:
            current_request.reset(token)
    assert stream.getvalue().endswith(f"INFO    Katze zählt  request_id=mine trace_id={TRACE}\n")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("log_format", "stream", "expected"),
    [
        ("auto", io.StringIO(), JsonFormatter),
        ("auto", Terminal(), TextFormatter),
        ("json", Terminal(), JsonFormatter),
        ("text", io.StringIO(), TextFormatter),
    ],
)
def test_the_format_suits_the_stream(log_format: str, stream: io.StringIO, expected: type) -> None:
    with captured():
        configure_log(Serving.model_validate({"log_format": log_format}), stream)
        [handler] = logging.getLogger().handlers
        assert type(handler.formatter) is expected


def test_the_level_holds_and_the_servers_messages_have_the_same_form() -> None:
    with captured(Serving(log_level="WARNING")) as stream:
        logging.getLogger("visiongate.x").info("unheard")
        logging.getLogger("uvicorn.error").warning("heard")
        request_log.log_request(RequestContext("mine"), "GET", "/", 200, 0.0)
    [line] = stream.getvalue().splitlines()
    assert json.loads(line)["message"] == "heard"


class Full(io.StringIO):
    def write(self, _: str) -> int:
        raise OSError(28, "No space left on device")


def test_a_full_disk_does_not_stop_the_service(capsys: pytest.CaptureFixture[str]) -> None:
    with captured():
        configure_log(Serving(), Full())
        logging.getLogger("visiongate.x").warning("lost")
    assert capsys.readouterr().err == ""


class Blocked(io.StringIO):
    """A pipe that nobody reads."""

    def __init__(self) -> None:
        super().__init__()
        self.is_full, self.go_on = threading.Event(), threading.Event()

    def write(self, text: str) -> int:
        self.is_full.set()
        self.go_on.wait()
        return super().write(text)


def test_a_reader_that_does_not_read_stops_neither_the_service_nor_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(request_log, "FLUSH_SECONDS", 0.05)
    monkeypatch.setattr(request_log, "MAX_WAITING", 100)
    pipe = Blocked()
    with captured():
        configure_log(Serving(), pipe)
        [handler] = logging.getLogger().handlers
        logger = logging.getLogger("visiongate.x")
        logger.warning("first")
        assert pipe.is_full.wait(10)
        for number in range(300):
            logger.warning("line %d", number)
        handler.flush()
        pipe.go_on.set()
        monkeypatch.undo()
        handler.flush()
    messages = [json.loads(line)["message"] for line in pipe.getvalue().splitlines()]
    assert messages == ["first", *(f"line {number}" for number in range(200, 300))]


def test_a_message_that_does_not_fit_its_arguments_is_dropped() -> None:
    with captured() as stream:
        logging.getLogger("visiongate.x").warning("%d", "text")
        logging.getLogger("visiongate.x").warning("next")
    [line] = stream.getvalue().splitlines()
    assert json.loads(line)["message"] == "next"
