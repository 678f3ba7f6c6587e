"""The load of `visiongate smoke --load`: connections are kept, nothing is repeated, and each fault counts."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from visiongate.commands.smoke_load import LoadResult, Request, send_load

BODY = b"PNG"


class Server(ThreadingHTTPServer):
    """Answers predictions, and misbehaves at the request with a number."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/predict?model=a"
        self.requests = self.connections = 0
        self.lock = threading.Lock()
        self.faults: dict[int, Callable[[Handler], None]] = {}


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        with self.server.lock:
            self.server.connections += 1

    def do_POST(self) -> None:
        assert self.rfile.read(int(self.headers["Content-Length"])) == BODY
        assert (self.path, self.headers["Authorization"]) == ("/predict?model=a", "Bearer key")
        with self.server.lock:
            self.server.requests += 1
            fault = self.server.faults.get(self.server.requests, Handler.answer)
        fault(self)

    def answer(self, status: int = 200, body: bytes = b'{"probabilities": {}}', **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # Without its own handles on the socket, the kernel resets the connection.
        self.rfile.close()
        self.connection.close()
        self.close_connection = True

    def leave(self) -> None:
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def assert_set(event: threading.Event) -> None:
    assert event.wait(5)


def send(url: str, clients: int = 1, timeout: float = 5.0) -> LoadResult:
    return send_load(Request(url, {"Authorization": "Bearer key"}, BODY, timeout), 0.25, clients)


def test_connections_are_kept(server: Server) -> None:
    result = send(server.url, clients=3)

    assert not result.failures
    assert len(result.latencies) == server.requests > server.connections == 3


def test_a_connection_that_the_service_closes_after_an_answer_is_no_failure(server: Server) -> None:
    server.faults[2] = lambda handler: handler.answer(Connection="close")

    result = send(server.url)

    assert not result.failures
    assert (server.connections, len(result.latencies)) == (2, server.requests)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (lambda handler: handler.answer(status=503), "status 503"),
        (lambda handler: handler.answer(status=429), "status 429"),
        (lambda handler: handler.answer(body=b"<html>"), "an answer without probabilities"),
        (Handler.reset, "Connection reset by peer"),
        (Handler.leave, "Remote end closed connection without response"),
    ],
)
def test_a_fault_counts_and_is_not_repeated(
    server: Server, fault: Callable[[Handler], None], reason: str
) -> None:
    server.faults[3] = fault

    result = send(server.url)

    assert [text for _, text in result.failures] == [reason]
    assert len(result.latencies) == server.requests - 1 > 3
    assert "1 failed; " in result.summary()
    assert result.summary().endswith(f" s: 1 × {reason}")


def test_an_answer_that_does_not_end_is_a_failure(server: Server) -> None:
    ended = threading.Event()
    server.faults[2] = lambda _: assert_set(ended)

    result = send(server.url, timeout=0.1)
    ended.set()

    assert result.failures[0][1] in {"timed out", "no whole answer in 0.1 s"}


def test_where_nothing_listens_every_request_fails() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]

    result = send(f"http://127.0.0.1:{port}/predict")

    assert not result.latencies
    assert {text for _, text in result.failures} == {"Connection refused"}
    assert len(result.failures) < 10


def test_the_summary_has_rate_percentiles_and_the_most_frequent_reasons() -> None:
    failures = [(0.5 + number, reason) for number, reason in enumerate("aabbbcde")]
    result = LoadResult(2.0, [number / 1000 for number in range(1, 201)], failures)

    assert result.summary() == (
        "208 requests in 2.0 s, 8 failed; 100 answers a second, p50 100 ms, p99 198 ms; "
        "the first after 0.5 s: 3 × b, 2 × a, 1 × c, 2 other reasons"
    )
