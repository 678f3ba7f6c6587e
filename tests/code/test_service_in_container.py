"""Small faults of a deployment: a wrong file, a vanished file, a folder that cannot be written, what a smoke test leaves."""

import asyncio
import base64
import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path

import onnx
import pytest

from command_line import run_cli
from image_samples import encode, photo
from pooled_models import write_pooled_model
from served import Application, application, process
from visiongate.models.examples import make_example
from visiongate.models.predictor import open_predictor
from visiongate.serving.sources import watch

PHOTO = encode(photo(40, 30), "PNG")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    write_pooled_model(path)
    return path


async def wait_until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("content", [b"# Title", b"", b"PK\x03\x04", b"version https://git-lfs"])
def test_a_file_that_is_no_model_ends_the_start(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("README.md").write_bytes(content)
    monkeypatch.setenv("MODEL_PATH", "README.md")

    assert run_cli("serve", "--port", "0") == 2
    assert capsys.readouterr().err == (
        "visiongate serve: README.md: not an ONNX model; name a file such as models/model.onnx, or a folder of "
        "`visiongate registry export`\n"
    )


def test_a_model_that_vanishes_is_looked_for_without_longer_pauses(
    model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watch, "MAX_PAUSE_SECONDS", 60.0)
    content = model.read_bytes()

    async def talk() -> None:
        async with application(model, {"VISIONGATE_SERVING__REGISTRY__POLL_SECONDS": "0.02"}) as app:
            slot = app.service.slots["default"]
            loaded = slot.active
            await asyncio.to_thread(model.unlink)
            await wait_until(lambda: slot.problem)
            assert slot.problem == f"{model}: no such model file"
            # With pauses that double, the next look would be in five seconds.
            await asyncio.sleep(0.5)
            await asyncio.to_thread(model.write_bytes, content)
            start = time.monotonic()
            await wait_until(lambda: not slot.problem)
            assert time.monotonic() - start < 4
            assert slot.active is loaded

    asyncio.run(talk())
    assert caplog.text.count("no such model file; the current version stays") == 1


def test_a_folder_without_its_description_is_looked_for_too(tmp_path: Path) -> None:
    async def talk() -> None:
        environment = {"VISIONGATE_SERVING__REGISTRY__POLL_SECONDS": "0.02"}
        async with application(tmp_path, environment, wait=False) as app:
            slot = app.service.slots["default"]
            await wait_until(lambda: slot.problem)
            assert "served.json: No such file" in str(slot.problem)

    asyncio.run(talk())


def test_a_log_folder_that_cannot_be_made_costs_a_warning(
    model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    environment = {
        "VISIONGATE_SERVING__LOG__ENABLED": "true",
        "VISIONGATE_SERVING__LOG__ADDRESS": f"sqlite:///{tmp_path}/file/log.sqlite",
    }
    caplog.set_level(logging.WARNING)

    async def talk() -> None:
        async with application(model, environment) as app:
            assert app.service.log is not None
            await wait_until(lambda: app.service.log and app.service.log.fault)
            assert (await app.client.post("/predict", content=PHOTO)).status_code == 200
            assert (await app.client.get("/health/ready")).status_code == 200
            assert (await app.client.get("/health")).json()["log"]["recording"] is False

    asyncio.run(talk())
    assert caplog.text.count("answers go on") == 1


def test_the_time_of_loading_has_one_format(model: Path) -> None:
    async def talk() -> None:
        async with application(model) as app:
            health = (await app.client.get("/health")).json()["models"]["default"]["versions"][0]
            models = (await app.client.get("/models")).json()[0]["versions"][0]
            assert health["loaded_at"] == models["loaded_at"]
            age = datetime.now(UTC) - datetime.fromisoformat(health["loaded_at"])
            assert 0 <= age.total_seconds() < 60

    asyncio.run(talk())


def test_the_example_of_a_model_is_answered_and_counted_but_not_recorded(model: Path, tmp_path: Path) -> None:
    example = make_example(open_predictor(model))
    written = onnx.load(model)
    written.metadata_props.add(key="example", value=json.dumps(asdict(example)))
    onnx.save(written, model)
    image = base64.b64decode(example.image)
    environment = {
        "VISIONGATE_SERVING__LOG__ENABLED": "true",
        "VISIONGATE_SERVING__LOG__ADDRESS": f"sqlite:///{tmp_path}/log.sqlite",
        "VISIONGATE_SERVING__ROLLOUT__SHADOW": str(model),
        "VISIONGATE_SERVING__ROLLOUT__SHADOW_SHARE": "1",
    }

    async def talk() -> None:
        async with application(model, environment) as app:
            await wait_until(lambda: len(list(app.service.slots["default"].versions())) == 2)
            for content in (image, image, PHOTO):
                assert (await app.client.post("/predict", content=content)).status_code == 200
            await wait_until(lambda: _recorded(app) == 2)
            found = (await app.client.get("/performance")).json()
            assert found["all"]["predictions"] == 1
            text = (await app.client.get("/metrics")).text
            assert 'visiongate_prediction_latency_seconds_count{stage="total"} 3.0' in text

    asyncio.run(talk())


def _recorded(app: Application) -> int:
    assert app.service.log is not None
    return app.service.log.written


@pytest.mark.slow
def test_a_client_that_sends_too_much_reads_the_answer(model: Path, tmp_path: Path) -> None:
    limits = {"VISIONGATE_SERVING__LIMITS__BODY_BYTES": "2000000"}
    with process(model, tmp_path, limits) as served:
        connection = HTTPConnection("127.0.0.1", served.listener.getsockname()[1], timeout=10)
        for size, status in ((10_000_000, 413), (len(PHOTO), 200), (16_000_000, 413)):
            # It sends all before it reads.
            connection.request("POST", "/predict", PHOTO.ljust(size, b"\0"))
            response = connection.getresponse()
            body = json.loads(response.read())
            assert response.status == status, body
            assert response.headers["Connection"] != "close"
        connection.request("POST", "/predict", b"", {"Content-Length": "16000001"})
        assert connection.getresponse().headers["Connection"] == "close"
        connection.close()
