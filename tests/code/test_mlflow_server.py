"""Registration on a real MLflow server: promotion, rollback, and a server that is killed in the middle."""

import asyncio
import io
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
from PIL import Image

from drift_references import make_reference
from registering import aliases, numbers
from served import Application, application
from visiongate.adapters.mlflow.store import TrackingError, open_store
from visiongate.records.drift_reference import read_reference, write_reference
from visiongate.records.files import sha256_of
from visiongate.records.registration import read_registration
from visiongate.registration import stage as register
from visiongate.registry.rollback import roll_back
from visiongate.serving.versions.reference import load_reference
from visiongate.settings.loading import replace_settings
from visiongate.settings.schema import Settings
from workspaces import commit_workspace, enter_workspace, tracked_settings, write_judged_model

pytestmark = pytest.mark.slow
START_SECONDS = 120
REFERENCE = Path("reports/evaluation/reference.npz")


class Server:
    """An MLflow server on loopback that can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--port", str(self.port), "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{self._folder}/server.db"]
        command += ["--artifacts-destination", str(self._folder / "artifacts")]
        environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, env=environment, start_new_session=True
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            assert time.monotonic() < deadline, (self._folder / "server.log").read_text()
            time.sleep(0.2)

    def kill(self) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _answers(self) -> bool:
        try:
            urlopen(f"{self.address}/health", timeout=1).close()  # noqa: S310 - loopback
        except OSError:
            return False
        return True


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("server"))
    running.start()
    yield running
    running.kill()


@pytest.fixture
def settings(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Settings:
    """Settings for the server, with a registered model of the test's own."""
    enter_workspace(tmp_path / "workspace", monkeypatch)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    commit_workspace()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
    name = request.node.name.replace("_", "-")[:60]
    return replace_settings(tracked_settings(), {"registry.name": name}, "test")


def judge(threshold: float) -> None:
    write_judged_model(threshold)
    write_reference(REFERENCE, make_reference(model_sha256=sha256_of(Path("models/model.onnx"))))


def registered(settings: Settings, threshold: float) -> str:
    judge(threshold)
    register.run(settings)
    return read_registration(Path("reports/registration.json")).decision


def test_a_better_model_is_promoted_and_rolled_back(settings: Settings) -> None:
    assert registered(settings, 140) == "promoted"
    assert registered(settings, 127.5) == "promoted"
    store = open_store(settings.tracking)
    assert aliases(store, settings)["champion"] == "2"
    roll_back(store, settings.registry.name, "1", "test", force=False)
    assert aliases(store, settings)["champion"] == "1"


def test_a_server_that_is_killed_keeps_the_champion(
    server: Server, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered(settings, 140)
    judge(127.5)
    decide = register.decide

    def decide_on_a_killed_server(*arguments: object) -> object:
        server.kill()
        return decide(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(register, "decide", decide_on_a_killed_server)
        with pytest.raises(TrackingError, match=r"^MLflow at http://127") as caught:
            register.run(settings)
    assert "\n" not in str(caught.value)
    server.start()
    store = open_store(settings.tracking)
    assert aliases(store, settings) == {"champion": "1"}
    register.run(settings)
    assert (aliases(store, settings)["champion"], numbers(store, settings)) == ("2", ["1", "2"])


async def until(is_true: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not is_true():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def served_version(app: Application) -> str:
    """Predict an image, and return the number of the version that did."""
    encoded = io.BytesIO()
    Image.new("L", (8, 8), 200).save(encoded, "PNG")
    response = await app.client.post("/predict", content=encoded.getvalue())
    assert response.status_code == 200, response.text
    version: str = response.json()["model"]["version"]
    return version


def test_the_service_follows_the_champion_and_survives_the_server(
    server: Server, settings: Settings, tmp_path: Path
) -> None:
    registered(settings, 140)
    registered(settings, 127.5)
    reference = REFERENCE.read_bytes()
    client = open_store(settings.tracking).client
    name = settings.registry.name
    address = f"models:/{name}@champion"
    environment = {
        "MLFLOW_TRACKING_URI": server.address,
        "VISIONGATE_SERVING__REGISTRY__CACHE": str(tmp_path / "cache"),
        "VISIONGATE_SERVING__REGISTRY__POLL_SECONDS": "0.1",
    }

    async def serve_while_it_is_killed() -> list[str]:
        async with application(address, environment) as app:
            slot, versions = app.service.slots["default"], [await served_version(app)]
            assert load_reference(slot.require().origin) == reference
            client.set_registered_model_alias(name, "champion", "1")
            await until(lambda: slot.require().version == "1")
            versions.append(await served_version(app))
            assert app.service.registry_reachable is True
            server.kill()
            await until(lambda: app.service.registry_reachable is False)
            return [*versions, await served_version(app)]

    async def serve_without_a_server() -> tuple[str, float | None]:
        async with application(address, environment) as app:
            origin = app.service.slots["default"].require().origin
            assert read_reference(load_reference(origin) or b"", origin.sha256)
            return await served_version(app), app.service.slots["default"].unreachable_since

    assert asyncio.run(serve_while_it_is_killed()) == ["2", "1", "1"]
    version, since = asyncio.run(serve_without_a_server())
    server.start()

    assert version == "1"
    assert since is not None
