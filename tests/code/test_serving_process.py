"""The service as a process: signals, restarts and sudden death, while clients send images."""

import io
import signal
import socket
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Self

import httpx
import pytest
from PIL import Image

from pooled_models import write_pooled_model
from served import LOADED, Process, process

RESTARTS = 10


def _photo() -> bytes:
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((8, 8)).save(buffer, "PNG")
    return buffer.getvalue()


class Load:
    """Clients that send one image after the other, each over its own connection."""

    def __init__(self, url: str, clients: int) -> None:
        self.results: Counter[object] = Counter()
        self._url, self._end = url, threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        photo = _photo()
        with httpx.Client(base_url=self._url, timeout=30) as client:
            while not self._end.is_set():
                try:
                    self.results[client.post("/predict", content=photo).status_code] += 1
                except httpx.TransportError as error:
                    self.results[repr(error)] += 1
                time.sleep(0.01)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    write_pooled_model(path)
    return path


def _restart(served: Process, restarts: int) -> int:
    """Start another process on the same socket, then end the one before; return its status."""
    before = served.process
    served.process = served.start()
    served.wait_for_log(LOADED, restarts + 1)
    before.send_signal(signal.SIGTERM)
    return before.wait(30)


@pytest.mark.slow
def test_no_request_fails_while_the_process_is_restarted(model: Path, tmp_path: Path) -> None:
    with process(model, tmp_path) as served, Load(served.url, clients=3) as load:
        statuses = [_restart(served, number) for number in range(1, RESTARTS + 1)]

    assert statuses == [0] * RESTARTS
    assert set(load.results) == {200}
    assert load.results[200] > RESTARTS


def test_a_process_that_waits_for_its_model_can_be_ended(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(b"\x08nothing")
    served = Process(model, tmp_path, {})
    try:
        served.wait_for_log("the model is not ready")
        assert served.stop() == 0
    finally:
        served.process.kill()
        served.listener.close()


def test_after_sigterm_a_balancer_has_time_to_notice(model: Path, tmp_path: Path) -> None:
    drain = {"VISIONGATE_SERVING__LIMITS__DRAIN_SECONDS": "1.0"}
    with process(model, tmp_path, drain) as served:
        served.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        ready = httpx.get(f"{served.url}/health/ready")
        answer = httpx.post(f"{served.url}/predict", content=_photo())
        status = served.process.wait(30)

    assert (ready.status_code, answer.status_code, status) == (503, 200, 0)
    assert answer.headers["connection"] == "close"


def test_a_request_on_a_new_connection_is_answered_after_the_drain(model: Path, tmp_path: Path) -> None:
    drain = {"VISIONGATE_SERVING__LIMITS__DRAIN_SECONDS": "0.4"}
    with process(model, tmp_path, drain) as served:
        host, port = served.listener.getsockname()
        with socket.create_connection((host, port)) as connection:
            # The process accepts it before the signal.
            httpx.get(f"{served.url}/health/live")
            served.process.send_signal(signal.SIGTERM)
            time.sleep(0.7)
            connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
            status_line = connection.recv(4096).split(b"\r\n")[0]
        status = served.process.wait(30)

    assert (status_line, status) == (b"HTTP/1.1 200 OK", 0)
