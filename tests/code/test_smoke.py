"""``visiongate smoke``: a service that works passes; each fault is a line and exit status 1."""

import base64
import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import onnx
import pytest

from command_line import run_cli
from pooled_models import write_pooled_model
from served import process
from served_packages import hide_other_packages
from visiongate.commands import smoke
from visiongate.models.examples import make_example
from visiongate.models.predictor import open_predictor

SHA256 = "ab" * 32
EXAMPLE = {"image": "iVBORw0KGgo=", "probabilities": [0.25, 0.75]}
PREDICTION = {"probabilities": {"cat": 0.2501, "dog": 0.7499}, "model": {"sha256": SHA256}}
CHECKS = ("live", "startup", "ready", "page", "metrics", "inference protocol", "predictions")
FOUND = 302
Answers = dict[str, tuple[int, Any]]


class Imitation(HTTPServer):
    """Answers as a service does, from a table of paths."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.keys: set[str | None] = set()
        self.paths: list[str] = []
        self.answers: Answers = {
            "/health/live": (200, {"status": "ok"}),
            "/health/startup": (200, {"status": "ok"}),
            "/health/ready": (200, {"status": "ok"}),
            "/": (200, "<!doctype html><html></html>"),
            "/metrics": (200, "# HELP\nvisiongate_model_info 1\n"),
            "/v2/health/ready": (200, {}),
            "/models": (200, [{"name": "default"}]),
            "/model?model=default": (200, {"sha256": SHA256, "example": EXAMPLE}),
            "/predict?model=default": (200, PREDICTION),
        }


class Handler(BaseHTTPRequestHandler):
    server: Imitation

    def do_GET(self) -> None:
        self.server.keys.add(self.headers["Authorization"])
        self.server.paths.append(self.path)
        status, content = self.server.answers[self.path]
        body = (content if isinstance(content, str) else json.dumps(content)).encode()
        self.send_response(status)
        if status == FOUND:
            self.send_header("Location", content)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def service() -> Iterator[Imitation]:
    with Imitation() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_the_service_passes_in_an_environment_with_its_packages_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.onnx"
    write_pooled_model(path)
    example = make_example(open_predictor(path))
    model = onnx.load(path)
    model.metadata_props.add(key="example", value=json.dumps(asdict(example)))
    onnx.save(model, path)

    with process(path, tmp_path, hide_other_packages(tmp_path)) as served:
        status = run_cli("smoke", "--url", served.url, "--wait", "30", "--load", "0.3", "--clients", "2")
        image = base64.b64decode(example.image)
        explained = httpx.post(f"{served.url}/predict?explain=true", content=image).json()

    printed = capsys.readouterr().out
    assert status == 0, printed
    assert re.search(
        r"^ok      load: [\d,]+ requests in 0\.\d s, 0 failed; [\d,]+ answers a second, p50 \d+ ms",
        printed,
        re.MULTILINE,
    )
    assert explained["heat_map"].startswith("data:image/png;base64,")


def test_a_service_that_works_passes(service: Imitation, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("smoke", "--url", service.url + "/") == 0

    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[0] for line in lines] == [f"ok      {check}" for check in CHECKS]
    assert service.keys == {None}


@pytest.mark.parametrize(
    ("path", "answer", "line"),
    [
        ("/health/ready", (503, {"detail": "no model is loaded"}), "ready: /health/ready: status 503: "),
        ("/", (200, "Welcome to nginx"), "page: the answer has no <html"),
        ("/metrics", (200, "python_info 1"), "metrics: the answer has no visiongate_"),
        ("/health/live", (200, ""), "live: /health/live: unexpected answer: "),
        ("/models", (200, []), "predictions: /models: the service has no model"),
        ("/models", (200, "[{]"), "predictions: /models: unexpected answer: "),
        ("/model?model=default", (200, {"example": EXAMPLE}), "unexpected answer: sha256 Field required"),
        (
            "/model?model=default",
            (200, {"sha256": SHA256, "example": None}),
            "predictions: default: its file has no example",
        ),
        ("/predict?model=default", (429, {}), "predictions: /predict?model=default: status 429"),
        (
            "/predict?model=default",
            (200, PREDICTION | {"model": {"sha256": "cd" * 32}}),
            "another version than that of /model answered 50 times",
        ),
        (
            "/predict?model=default",
            (200, PREDICTION | {"probabilities": {"cat": 0.26, "dog": 0.74}}),
            "default: its probabilities differ by 0.01 from",
        ),
        (
            "/predict?model=default",
            (200, PREDICTION | {"probabilities": {"cat": 1}}),
            "1 probabilities instead of 2",
        ),
    ],
)
def test_a_fault_fails_one_check(
    service: Imitation, path: str, answer: tuple[int, Any], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    service.answers[path] = answer

    assert run_cli("smoke", "--url", service.url) == 1

    failed = [text for text in capsys.readouterr().out.splitlines() if text.startswith("FAILED  ")]
    assert len(failed) == 1
    assert line in failed[0]


def test_the_key_is_sent_and_not_printed(
    service: Imitation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VISIONGATE_API_KEY", "from the environment")
    (tmp_path / "key").write_text("from a file\n")

    assert run_cli("smoke", "--url", service.url) == 0
    assert run_cli("smoke", "--url", service.url, "--key-file", str(tmp_path / "key")) == 0

    assert service.keys == {"Bearer from the environment", "Bearer from a file"}
    assert "from" not in capsys.readouterr().out


def test_the_key_follows_no_redirect(
    service: Imitation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    service.answers["/metrics"] = (FOUND, f"http://localhost:{service.server_port}/elsewhere")
    service.answers["/elsewhere"] = (200, "visiongate_")
    monkeypatch.setenv("VISIONGATE_API_KEY", "vg_secret")

    assert run_cli("smoke", "--url", service.url) == 1

    assert "/elsewhere" not in service.paths
    assert "metrics: /metrics: status 302: redirects to http://localhost" in capsys.readouterr().out


def test_a_long_answer_is_not_read(
    service: Imitation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(smoke, "MAX_BYTES", 10_000)
    service.answers["/metrics"] = (200, "visiongate_" * 1000)

    assert run_cli("smoke", "--url", service.url) == 1
    assert "FAILED  metrics: /metrics: the answer has more than 10000 bytes" in capsys.readouterr().out


def test_an_answer_that_drips_ends(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(smoke, "TIMEOUT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ended = threading.Event()

        def drip() -> None:
            connection = listener.accept()[0]
            with connection, suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
                while not ended.wait(0.05):
                    connection.sendall(b"x")

        thread = threading.Thread(target=drip)
        thread.start()
        status = run_cli("smoke", "--url", f"http://127.0.0.1:{listener.getsockname()[1]}")
        ended.set()
        thread.join()

    assert status == 1
    assert capsys.readouterr().out == "FAILED  live: /health/live: no whole answer in 0.2 s\n"


def test_it_waits_until_the_service_is_ready(service: Imitation) -> None:
    ready = service.answers["/health/ready"]
    service.answers["/health/ready"] = (503, {})
    timer = threading.Timer(0.3, service.answers.update, ({"/health/ready": ready},))
    timer.start()

    assert run_cli("smoke", "--url", service.url, "--wait", "30") == 0


def test_nothing_else_is_tried_where_nothing_answers(capsys: pytest.CaptureFixture[str]) -> None:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as closed:
        port = closed.server_port

    assert run_cli("smoke", "--url", f"http://127.0.0.1:{port}", "--wait", "0.1") == 1
    assert capsys.readouterr().out == "FAILED  live: /health/live: [Errno 111] Connection refused\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--url", "ftp://host"], "--url ftp://host: must begin with http:// or https://"),
        (["--url", "http://[::1"], "--url http://[::1: Invalid IPv6 URL"),
        (["--url", "http://host:port"], "--url http://host:port: Port could not be cast"),
        (["--url", "http:///path"], "--url http:///path: must be an address such as"),
        (["--url", "http://host/a b"], "--url http://host/a b: must be an address such as"),
        (["--url", "http://host", "--key-file", "/proc/self/cmdline"], "has something else than an API key"),
        (["--url", "http://host", "--key-file", "missing"], "--key-file missing: No such file"),
    ],
)
def test_invalid_options(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("smoke", *options) == 2
    assert message in capsys.readouterr().err
