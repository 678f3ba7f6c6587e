"""The inference service, in this process or as a process of its own."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from visiongate.serving.application import build_application
from visiongate.serving.service import Service
from visiongate.serving.sources.addresses import Places
from visiongate.serving.startup import build_service
from visiongate.settings.serving_environment import load_serving

SOURCES = Path(__file__).parents[1] / "src"
START_SECONDS = 30
LOADED = "is loaded as active"


@dataclass(frozen=True)
class Application:
    """A service in this process, and a client that calls it without a socket."""

    service: Service
    client: httpx.AsyncClient


@asynccontextmanager
async def application(
    model: Path | str, environment: Mapping[str, str] | None = None, *, wait: bool = True
) -> AsyncIterator[Application]:
    """Start the application as `visiongate serve MODEL` does; no prediction log, unless the environment has its address."""
    variables = {"VISIONGATE_SERVING__LOG__ENABLED": "false", **(environment or {})}
    deployment = load_serving(Path("params.yaml of nobody"), variables, {"serving.model": str(model)})
    service, keeper = build_service(Places(deployment))
    app = build_application(service, keeper)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            while wait and not all(slot.active for slot in service.slots.values()):  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            yield Application(service, client)


class Process:
    """A service as a process of its own. The socket belongs to the test, so that a restart refuses no connection."""

    def __init__(self, model: Path, folder: Path, environment: Mapping[str, str]) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.folder, self._model, self._environment = folder, model, environment
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        """Start another process on the same socket."""
        fd = self.listener.fileno()
        command = [sys.executable, "-m", "visiongate", "serve", str(self._model), "--fd", str(fd)]
        drain = {"VISIONGATE_SERVING__LIMITS__DRAIN_SECONDS": "0.3"}
        environment = {**os.environ, "PYTHONPATH": str(SOURCES), **drain, **self._environment}
        with (self.folder / "serve.log").open("ab") as log:
            return subprocess.Popen(
                command, cwd=self.folder, env=environment, pass_fds=[fd], stdout=log, stderr=log
            )

    def wait_for_log(self, text: str, times: int = 1) -> None:
        """Wait until the log of all processes has a text so many times."""
        end = time.monotonic() + START_SECONDS
        while self.log.count(text) < times:
            assert time.monotonic() < end, self.log
            time.sleep(0.02)

    @property
    def log(self) -> str:
        return (self.folder / "serve.log").read_text()

    def stop(self) -> int:
        """End the process by SIGTERM; return its status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(START_SECONDS)


@contextmanager
def process(model: Path, folder: Path, environment: Mapping[str, str] | None = None) -> Iterator[Process]:
    """Start `visiongate serve MODEL` in a folder, and wait until it is ready."""
    served = Process(model, folder, environment or {})
    try:
        served.wait_for_log(LOADED)
        yield served
    finally:
        served.process.kill()
        served.process.wait()
        served.listener.close()
