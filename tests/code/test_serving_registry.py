"""MLflow's REST API as the source of a served model, with an imitation of the server; and the watch for another version."""

import asyncio
import base64
import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from drift_references import make_reference
from served import application
from tiny_models import write_threshold_model
from visiongate.errors import DataError
from visiongate.records.drift_reference import encode_reference
from visiongate.records.files import sha256_of
from visiongate.serving.daemon_threads import call_in_thread
from visiongate.serving.sources import watch
from visiongate.serving.sources.addresses import Places, find_source
from visiongate.serving.sources.model_sources import NoVersionError, ServedFile, UnreachableError
from visiongate.serving.sources.registration_time import read_registration_time
from visiongate.serving.sources.registry_source import RegistrySource
from visiongate.serving.sources.watch import ModelWatch
from visiongate.serving.versions.reference import load_reference
from visiongate.settings.monitoring import Monitoring
from visiongate.settings.serving import Serving, ServingRegistry
from visiongate.settings.serving_environment import Deployment

ALIAS, URI = "/api/2.0/mlflow/registered-models/alias", "/api/2.0/mlflow/model-versions/get-download-uri"
FILE = "/api/2.0/mlflow-artifacts/artifacts/1/models/m-1/artifacts/model.onnx"
REFERENCE = FILE.replace("model.onnx", "reference.npz")
Answer = tuple[int, bytes]


@dataclass
class Imitation:
    """Answers by path, and what was asked for."""

    address: str
    answers: dict[str, Answer]
    asked: list[tuple[str, dict[str, list[str]], str | None]] = field(default_factory=list)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Imitation]:
    """MLflow with version 3 of a model, which is champion."""
    write_threshold_model(tmp_path / "model.onnx")
    tags = [{"key": "visiongate.model_sha256", "value": sha256_of(tmp_path / "model.onnx")}]
    version = {
        "name": "pets",
        "version": "3",
        "tags": tags,
        "aliases": ["champion"],
        "description": "# Pets",
        "creation_timestamp": 1_760_000_000_500,
    }
    location = {"artifact_uri": "mlflow-artifacts:/1/models/m-1/artifacts"}
    answers = {
        ALIAS: (200, json.dumps({"model_version": version}).encode()),
        URI: (200, json.dumps(location).encode()),
        FILE: (200, (tmp_path / "model.onnx").read_bytes()),
    }
    imitation = Imitation("", answers)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            imitation.asked.append((parts.path, parse_qs(parts.query), self.headers["Authorization"]))
            status, content = imitation.answers.get(parts.path, (404, b"not here"))
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        imitation.address = f"http://127.0.0.1:{running.server_port}"
        yield imitation
        running.shutdown()


def _source(folder: Path, uri: str, environment: dict[str, str] | None = None) -> RegistrySource:
    registry = ServingRegistry(uri=uri, timeout_seconds=0.3, cache=str(folder / "cache"))
    places = Places(Deployment(Serving(registry=registry), Monitoring(), None), None, environment or {})
    source = find_source("models:/pets@champion", places)
    assert isinstance(source, RegistrySource)
    return source


def test_a_version_is_found_by_one_request_and_its_file_fetched_once(
    server: Imitation, tmp_path: Path
) -> None:
    source = _source(tmp_path, server.address + "/")
    file = source.current()
    assert (file.name, file.version, file.aliases, file.card) == ("pets", "3", ("champion",), "# Pets")
    assert sha256_of(file.path) == file.sha256
    assert read_registration_time(file.lineage) == 1_760_000_000
    assert [path for path, _, _ in server.asked] == [ALIAS, URI, FILE]
    assert server.asked[0][1] == {"name": ["pets"], "alias": ["champion"]}

    server.asked.clear()
    assert source.current() == file
    assert [path for path, _, _ in server.asked] == [ALIAS]


def test_a_reference_is_fetched_once_and_its_absence_stops_nothing(
    server: Imitation, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    version = json.loads(server.answers[ALIAS][1])
    content = encode_reference(make_reference(model_sha256=sha256_of(tmp_path / "model.onnx")))
    tag = {"key": "visiongate.reference_sha256", "value": hashlib.sha256(content).hexdigest()}
    version["model_version"]["tags"].append(tag)
    server.answers[ALIAS] = 200, json.dumps(version).encode()
    for _ in range(2):
        file = _source(tmp_path, server.address).current()
        assert load_reference(file) is None
    assert [path for path, _, _ in server.asked] == [ALIAS, URI, FILE, URI, REFERENCE, ALIAS, URI, REFERENCE]
    assert (
        len([text for text in caplog.messages if "status 404; `visiongate drift` has no reference" in text])
        == 2
    )

    server.answers[REFERENCE] = 200, content
    server.asked.clear()
    for _ in range(2):
        assert load_reference(_source(tmp_path, server.address).current()) == content
    assert [path for path, _, _ in server.asked] == [ALIAS, URI, REFERENCE, ALIAS]


@pytest.mark.parametrize(
    ("environment", "user", "expected"),
    [
        ({"MLFLOW_TRACKING_TOKEN": "abc", "MLFLOW_TRACKING_USERNAME": "ann"}, "", "Bearer abc"),
        ({"MLFLOW_TRACKING_USERNAME": "ann", "MLFLOW_TRACKING_PASSWORD": "b:c"}, "", "Basic ann:b:c"),
        ({}, "ann:b%3Ac@", "Basic ann:b:c"),
        ({}, "", None),
    ],
)
def test_credentials_are_those_of_mlflow(
    server: Imitation, tmp_path: Path, environment: dict[str, str], user: str, expected: str | None
) -> None:
    address = server.address.replace("//", f"//{user}")
    source = _source(tmp_path, address, environment)
    file = source.current()
    assert file.source == f"pets version 3 (champion) of {server.address}"
    sent = {authorization for _, _, authorization in server.asked}
    if expected is not None and expected.startswith("Basic"):
        expected = "Basic " + base64.b64encode(expected.removeprefix("Basic ").encode()).decode()
    assert sent == {expected}


MISSING = json.dumps({"error_code": "INVALID_PARAMETER_VALUE", "message": "alias not found"}).encode()


@pytest.mark.parametrize(
    ("path", "answer", "error"),
    [
        (ALIAS, (400, MISSING), NoVersionError("models:/pets@champion: no such version at http")),
        (
            ALIAS,
            (401, b"who?"),
            UnreachableError("refuses access with status 401; set MLFLOW_TRACKING_TOKEN"),
        ),
        (ALIAS, (502, b"<html>"), UnreachableError("answers models:/pets@champion with status 502")),
        (ALIAS, (200, b"<html>"), UnreachableError("does not answer as an MLflow server")),
        (ALIAS, (200, b"{}"), UnreachableError("does not answer as an MLflow server")),
        (ALIAS, (200, b'{"model_version": {"version": "3"}}'), DataError("registered without a sha256")),
        (URI, (500, b""), UnreachableError("answers models:/pets/3 with status 500")),
        (URI, (200, b"[]"), UnreachableError("does not answer as an MLflow server")),
        (URI, (200, b"{}"), UnreachableError("does not answer as an MLflow server")),
        (FILE, (404, b""), UnreachableError("artifacts/model.onnx with status 404")),
        (FILE, (200, b"other"), DataError("models:/pets/3: its file has the sha256 d9298a10d1b0735837dc")),
    ],
)
def test_an_unusable_answer_is_one_line(
    server: Imitation, tmp_path: Path, path: str, answer: Answer, error: Exception
) -> None:
    server.answers[path] = answer
    with pytest.raises(type(error), match=str(error)) as caught:
        _source(tmp_path, server.address).current()
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "cache").rglob("model.onnx"))


def test_a_server_that_is_away_or_silent_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match=r"http://127\.0\.0\.1:9 cannot be reached: ConnectionError"):
        _source(tmp_path, "http://user:secret@127.0.0.1:9").current()
    with (
        ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as silent,
        pytest.raises(UnreachableError, match=r"does not answer within 0\.3 s"),
    ):
        _source(tmp_path, f"http://127.0.0.1:{silent.server_port}").current()


# What the service says


def _environment(uri: str, folder: Path) -> dict[str, str]:
    prefix = "VISIONGATE_SERVING__REGISTRY__"
    settings = {"URI": uri, "CACHE": str(folder / "served"), "POLL_SECONDS": "0.02"}
    return {f"{prefix}{name}": value for name, value in settings.items()}


async def _until(is_true: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not is_true():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    ("path", "answer", "words"),
    [
        (ALIAS, (400, MISSING), "models:/pets@champion: no such version"),
        (FILE, (200, b"other"), "its file has the sha256 d9298a10d1b0735837dc"),
    ],
)
def test_a_version_that_is_lost_or_wrong_is_said_until_it_is_right_again(
    server: Imitation, tmp_path: Path, path: str, answer: Answer, words: str
) -> None:
    good = server.answers[path]
    server.answers[path] = answer

    async def work() -> None:
        environment = _environment(server.address, tmp_path)
        async with application("models:/pets@champion", environment, wait=False) as app:
            slot = app.service.slots["default"]
            await _until(lambda: slot.problem)
            not_ready = await app.client.get("/health/ready")
            assert (not_ready.status_code, words in not_ready.json()["detail"]) == (503, True)
            server.answers[path] = good
            await _until(lambda: slot.active)
            assert slot.problem is None

            server.answers[ALIAS] = 400, MISSING
            await _until(lambda: slot.problem)
            assert (await app.client.get("/health/ready")).status_code == 200
            assert "no such version" in (await app.client.get("/models")).json()[0]["problem"]
            assert 'visiongate_model_problem{slot="default"} 1.0' in (await app.client.get("/metrics")).text

    asyncio.run(work())


def test_a_canary_that_was_rolled_back_does_not_come_back_at_the_next_start(
    server: Imitation, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "visiongate")
    environment = _environment(server.address, tmp_path) | {
        "VISIONGATE_SERVING__ROLLOUT__CANARY": "models:/pets@challenger",
        "VISIONGATE_SERVING__REGISTRY__POLL_SECONDS": "60",
    }

    async def start() -> bool:
        async with application(tmp_path / "model.onnx", environment) as app:
            slot = app.service.slots["default"]
            await _until(lambda: slot.canary or "no such version" in caplog.text)
            await asyncio.sleep(0.2)
            return slot.canary is not None

    assert asyncio.run(start())
    assert list((tmp_path / "served").rglob("*.onnx"))
    server.answers[ALIAS] = 400, MISSING
    assert not asyncio.run(start())


def test_a_canary_whose_alias_is_gone_is_unloaded_until_it_is_back(
    server: Imitation, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good, rollout = server.answers[ALIAS], "VISIONGATE_SERVING__ROLLOUT__CANARY"
    environment = _environment(server.address, tmp_path) | {
        rollout: "models:/pets@challenger",
        f"{rollout}_SHARE": "0.5",
    }

    async def work() -> None:
        async with application(tmp_path / "model.onnx", environment) as app:
            slot = app.service.slots["default"]
            await _until(lambda: slot.canary)
            server.answers[ALIAS] = 400, MISSING
            await _until(lambda: not slot.canary)
            # There is not always a challenger.
            assert "no such version" not in caplog.text
            assert slot.problem is None
            assert (await app.client.post("/admin/reload")).status_code == 200
            server.answers[ALIAS] = good
            await _until(lambda: slot.canary)
            assert (await app.client.post("/admin/reload")).json()["problem"] is None

    asyncio.run(work())


def test_a_database_that_is_gone_is_unreachable(tmp_path: Path) -> None:
    async def work() -> dict[str, Any]:
        environment = _environment(f"sqlite:///{tmp_path}/gone.db", tmp_path)
        async with application("models:/pets@champion", environment, wait=False) as app:
            await _until(lambda: app.service.slots["default"].problem)
            health: dict[str, Any] = (await app.client.get("/health")).json()
            return health

    health = asyncio.run(work())

    assert health["registry_reachable"] is False
    assert "there is no registry at sqlite:///" in health["models"]["default"]["problem"]


# The watch


Step = ServedFile | Exception


def _file(version: str) -> ServedFile:
    return ServedFile(Path("model.onnx"), "pets", version, version * 64, None, source=f"version {version}")


class Scripted:
    """A source that does one thing after the other, and the last one from then on."""

    def __init__(self, steps: Sequence[Step], fallback: ServedFile | None = None) -> None:
        self._steps, self._fallback = list(steps), fallback
        self.looks: list[float] = []

    def current(self) -> ServedFile:
        self.looks.append(time.monotonic())
        step = self._steps[min(len(self.looks), len(self._steps)) - 1]
        if isinstance(step, Exception):
            raise step
        return step

    def fallback(self) -> ServedFile | None:
        return self._fallback


def _watch(
    source: Scripted, looks: int, on_change: Callable[[ServedFile], None] | None = None
) -> tuple[list[str], list[Any]]:
    """Watch until so many looks; return the versions that were reported, and when the source did not answer."""
    versions: list[str] = []
    reached: list[Any] = []
    problems: list[Any] = []

    async def change(file: ServedFile) -> None:
        versions.append(str(file.version))
        if on_change:
            on_change(file)

    async def work() -> None:
        task = asyncio.create_task(ModelWatch(source, 0.005, change, reached.append, problems.append).run())
        async with asyncio.timeout(20):
            while len(reached) < looks:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(work())
    return versions, reached


def test_each_other_version_is_reported_once() -> None:
    one, two = _file("1"), _file("2")
    threshold = replace(two, threshold=0.3)
    renamed = replace(threshold, aliases=("champion",), path=Path("elsewhere"))
    versions, _ = _watch(Scripted([one, one, two, threshold, renamed, one]), 7)
    assert versions == ["1", "2", "2", "1"]


def test_an_unreachable_registry_is_said_once_and_again_when_it_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    away = [UnreachableError("no answer"), UnreachableError("no connection"), UnreachableError("status 502")]
    versions, reached = _watch(Scripted([_file("1"), *away, _file("1"), _file("2")]), 6)
    assert versions == ["1", "2"]
    assert reached[0] is None
    assert len(set(reached[1:4])) == 1
    assert reached[1] == pytest.approx(time.time(), abs=20)
    assert reached[4:6] == [None, None]
    assert [
        record.getMessage().partition(",")[0] for record in caplog.records if record.name == watch.__name__
    ] == [
        "no answer; the current version stays",
        "The registry answers again",
    ]


def test_looks_become_rarer_while_the_registry_is_away() -> None:
    source = Scripted([UnreachableError("away")])
    _watch(source, 5)
    assert source.looks[4] - source.looks[3] > 0.07


def test_a_missing_champion_is_noticed_as_quickly_as_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ModelWatch, "_lengthen_pause", lambda _: pytest.fail("looks became rarer"))
    assert _watch(Scripted([NoVersionError("no champion"), _file("1")]), 2)[0] == ["1"]


@pytest.mark.parametrize("error", [NoVersionError("no champion"), DataError("not the registered one")])
def test_a_lost_or_wrong_version_is_said_once_and_the_current_one_stays(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    versions, reached = _watch(Scripted([_file("1"), error]), 4)
    assert versions == ["1"]
    assert set(reached) == {None}
    assert [record.getMessage() for record in caplog.records] == [f"{error}; the current version stays"]


def test_at_the_start_the_fallback_is_served_until_there_is_a_version(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = Scripted([UnreachableError("away"), UnreachableError("away"), _file("2")], _file("1"))
    versions, _ = _watch(source, 3)
    assert versions == ["1", "2"]
    assert [record.getMessage() for record in caplog.records][:2] == ["away", "Serving version 1 until then"]


def test_no_error_ends_the_watch(caplog: pytest.LogCaptureFixture) -> None:
    def fail(file: ServedFile) -> None:
        if file.version == "1":
            raise RuntimeError("a fault")

    versions, _ = _watch(Scripted([_file("1"), RuntimeError("another"), _file("2")]), 2, fail)
    assert versions == ["1", "2"]
    assert caplog.text.count("Looking for another version of the model failed") == 2


def test_the_end_does_not_wait_for_a_source() -> None:
    blocked, start = threading.Event(), time.monotonic()

    async def work() -> None:
        async with asyncio.timeout(0.05):
            await call_in_thread(lambda: blocked.wait(20))

    with pytest.raises(TimeoutError):
        asyncio.run(work())
    assert time.monotonic() - start < 10
    blocked.set()
