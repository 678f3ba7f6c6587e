"""Images of `deploy/Dockerfile`, built and run by podman or docker."""

import io
import json
import os
import re
import shutil
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
from PIL import Image

from clones import ROOT

BASE = "docker.io/library/python:3.11-slim-bookworm"
# What a cluster grants the service; see deploy/Makefile.
LIMITS = (
    "--read-only",
    "--tmpfs=/tmp",
    "--cap-drop=all",
    "--security-opt=no-new-privileges",
    "--memory=512m",
    "--cpus=0.5",
)
START_SECONDS = 60


def find_engine() -> str:
    """Return podman or docker, or the one that VISIONGATE_ENGINE names; skip the test without either."""
    for name in (
        [os.environ["VISIONGATE_ENGINE"]] if "VISIONGATE_ENGINE" in os.environ else ["podman", "docker"]
    ):
        if (
            shutil.which(name)
            and subprocess.run([name, "info"], capture_output=True, check=False).returncode == 0
        ):
            return name
    pytest.skip("neither podman nor docker runs here: apt-get install podman")


class Engine:
    """Podman or docker.

    Args:
        name: Of the program.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def call(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command of the engine."""
        result = subprocess.run([self.name, *arguments], capture_output=True, text=True, check=False)
        assert not check or result.returncode == 0, result.stderr
        return result

    def inspect(self, kind: str, name: str) -> dict[str, Any]:
        """Return the description of an image or a container."""
        described: dict[str, Any] = json.loads(self.call(kind, "inspect", name).stdout)[0]
        return described

    def build(self, root: Path, tag: str) -> subprocess.CompletedProcess[str]:
        """Build the image of the service by the Makefile of a work tree, on a local copy of the base if there is one."""
        has_base = self.call("image", "inspect", BASE, check=False).returncode == 0
        base = [f"PYTHON_IMAGE={BASE}"] if has_base else []
        python = f"PYTHON={ROOT / '.venv/bin/python'}"
        command = [
            "make",
            "-C",
            str(root / "deploy"),
            "image",
            f"ENGINE={self.name}",
            f"IMAGE={tag}",
            python,
            *base,
        ]
        return subprocess.run(command, capture_output=True, text=True, check=False)


class Container:
    """A container of the service on a port of this machine, without a proxy between.

    Args:
        engine: Runs it.
        image: Its image.
        options: Of `run`, besides the limits.
        environment: Variables of the service.
    """

    def __init__(self, engine: Engine, image: str, *options: str, **environment: str) -> None:
        self._engine = engine
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        variables = {"HOST": "127.0.0.1", "PORT": str(port), **environment}
        given = [f"--env={name}={value}" for name, value in variables.items()]
        self._started = time.monotonic()
        run = ("run", "--detach", "--network=host", *LIMITS, *options, *given, image)
        self.name = engine.call(*run).stdout.strip()

    def wait(self) -> float:
        """Wait until the service is ready; return the seconds since the start."""
        while time.monotonic() < self._started + START_SECONDS:
            try:
                if httpx.get(f"{self.url}/health/ready", timeout=5).status_code == httpx.codes.OK:
                    return time.monotonic() - self._started
            except httpx.TransportError:
                assert self.is_running, self.log
            time.sleep(0.02)
        raise AssertionError(self.log)

    def wait_for_log(self, text: str) -> None:
        """Wait until the log has a text."""
        while text not in self.log:
            assert time.monotonic() < self._started + START_SECONDS, self.log
            time.sleep(0.1)

    def python(self, code: str) -> str:
        """Return what a Python program prints in the container."""
        return self._engine.call("exec", self.name, "python", "-c", code).stdout.strip()

    def shell(self, command: str) -> tuple[int, str]:
        """Return the status and the output of a shell command in the container."""
        result = self._engine.call("exec", self.name, "sh", "-c", command, check=False)
        return result.returncode, result.stdout + result.stderr

    def handles(self, number: int) -> bool:
        """Return whether its process has a handler of a signal."""
        process = self._engine.inspect("container", self.name)["State"]["Pid"]
        handled = re.search(r"SigCgt:\s*([0-9a-f]+)", Path(f"/proc/{process}/status").read_text())
        return handled is not None and bool(int(handled[1], 16) >> (number - 1) & 1)

    def stop(self, seconds: int = 30) -> tuple[int, float]:
        """Stop it by SIGTERM; return its exit status, and how many seconds it took."""
        start = time.monotonic()
        self._engine.call("stop", "-t", str(seconds), self.name)
        return self.status, time.monotonic() - start

    def restart(self) -> None:
        """Start it again after `stop`."""
        self._started = time.monotonic()
        self._engine.call("start", self.name)

    @property
    def is_running(self) -> bool:
        """Whether its process runs."""
        return bool(self._engine.inspect("container", self.name)["State"]["Running"])

    @property
    def status(self) -> int:
        """The exit status."""
        return int(self._engine.inspect("container", self.name)["State"]["ExitCode"])

    @property
    def log(self) -> str:
        """What it printed."""
        result = self._engine.call("logs", self.name)
        return result.stdout + result.stderr


@contextmanager
def container(engine: Engine, image: str, *options: str, **environment: str) -> Iterator[Container]:
    """Run a container, and remove it."""
    running = Container(engine, image, *options, **environment)
    try:
        yield running
    finally:
        engine.call("rm", "--force", "--volumes", running.name)


class Clients:
    """Clients that each send one image after the other, until the service refuses connections.

    Args:
        url: Of the service.
        count: Of the clients.
    """

    def __init__(self, url: str, count: int) -> None:
        self._url, self._stop = url, threading.Event()
        # Statuses of answers, and errors; a refused connection was not accepted.
        self.results: Counter[object] = Counter()
        self._threads = [threading.Thread(target=self._run) for _ in range(count)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        buffer = io.BytesIO()
        Image.linear_gradient("L").resize((8, 8)).save(buffer, "PNG")
        with httpx.Client(base_url=self._url, timeout=30) as client:
            while not self._stop.is_set():
                try:
                    self.results[client.post("/predict", content=buffer.getvalue()).status_code] += 1
                except httpx.ConnectError:
                    return
                except httpx.TransportError as error:
                    self.results[repr(error)] += 1
