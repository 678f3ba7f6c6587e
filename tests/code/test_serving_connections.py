"""Slow and hostile clients, over real sockets: they are cut off, and everyone else is answered."""

import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator

import httpx
import pytest
import uvicorn
from uvicorn.server import ServerState

from pooled_models import write_pooled_model
from visiongate.serving.application import build_application
from visiongate.serving.sources.addresses import Places
from visiongate.serving.startup import build_service
from visiongate.serving.web.connections import LINGER_SECONDS, Connection, bound_connections
from visiongate.serving.web.server import Server, allow_open_files, configure
from visiongate.settings.serving import Limits
from visiongate.settings.serving_environment import load_serving

SEND_SECONDS, CONNECTIONS = 1, 40
Attack = Callable[[socket.socket], None]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a service in this process."""
    model = tmp_path_factory.mktemp("served") / "model.onnx"
    write_pooled_model(model)
    environment = {
        "VISIONGATE_SERVING__LIMITS__SEND_SECONDS": str(SEND_SECONDS),
        "VISIONGATE_SERVING__LIMITS__IDLE_SECONDS": "1",
        "VISIONGATE_SERVING__LIMITS__CONNECTIONS": str(CONNECTIONS),
        "VISIONGATE_SERVING__LOG__ENABLED": "false",
    }
    deployment = load_serving(model.parent / "params.yaml", environment, {"serving.model": str(model)})
    service, keeper = build_service(Places(deployment))
    server = Server(configure(build_application(service, keeper), service), service)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=[[listener]])
        thread.start()
        while not (server.started and service.slots["default"].active):
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


def connect(served: str) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", httpx.URL(served).port))
    client.settimeout(10)
    return client


def read(client: socket.socket) -> bytes:
    """Return all that arrives until the server closes the connection."""
    received = b""
    try:
        while part := client.recv(65536):
            received += part
    except ConnectionError:
        pass
    return received


def trickle(client: socket.socket, part: bytes) -> None:
    try:
        for _ in range(50):
            client.sendall(part)
            time.sleep(0.1)
    except OSError:
        pass


def flood(client: socket.socket, part: bytes) -> None:
    try:
        for _ in range(1000):
            client.sendall(part)
    except OSError:
        pass


def stay_silent(_: socket.socket) -> None:
    pass


def send_headers_slowly(client: socket.socket) -> None:
    client.sendall(b"GET /health/live HTTP/1.1\r\n")
    trickle(client, b"X: y\r\n")


def send_empty_lines(client: socket.socket) -> None:
    trickle(client, b"\r\n")


def send_a_body_slowly(client: socket.socket) -> None:
    client.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
    trickle(client, b"y")


def send_a_body_that_nobody_reads(client: socket.socket) -> None:
    client.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
    trickle(client, b"y")


def send_an_endless_header(client: socket.socket) -> None:
    client.sendall(b"GET / HTTP/1.1\r\nX: ")
    flood(client, b"y" * 65536)


def send_a_large_header(client: socket.socket) -> None:
    client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 70_000 + b"\r\n\r\n")


def send_many_headers(client: socket.socket) -> None:
    client.sendall(b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 500 + b"\r\n")


def send_a_long_path(client: socket.socket) -> None:
    client.sendall(b"GET /" + b"y" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")


def send_endless_trailers(client: socket.socket) -> None:
    client.sendall(
        b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX: "
    )
    flood(client, b"y" * 65536)


def pipeline_many_requests(client: socket.socket) -> None:
    flood(client, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" * 500)


def send_an_invalid_chunk(client: socket.socket) -> None:
    client.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")


def send_no_http(client: socket.socket) -> None:
    client.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01")


# Of the first answer; an empty one if the connection is closed without it.
ATTACKS: dict[Attack, set[bytes]] = {
    stay_silent: {b""},
    send_headers_slowly: {b"408"},
    send_empty_lines: {b"408"},
    send_a_body_slowly: {b"408"},
    send_a_body_that_nobody_reads: {b"200"},
    send_an_endless_header: {b"431"},
    send_a_large_header: {b"431"},
    send_many_headers: {b"431"},
    send_a_long_path: {b"400", b"431"},
    send_endless_trailers: {b"431"},
    pipeline_many_requests: {b"", b"200"},
    send_an_invalid_chunk: {b"400"},
    send_no_http: {b"400"},
}


@pytest.mark.slow
def test_each_attack_is_cut_off(served: str, caplog: pytest.LogCaptureFixture) -> None:
    found: dict[Attack, tuple[bytes, float]] = {}

    def attack(kind: Attack) -> None:
        start = time.monotonic()
        with connect(served) as client:
            kind(client)
            found[kind] = read(client)[9:12], time.monotonic() - start

    threads = [threading.Thread(target=attack, args=[kind]) for kind in ATTACKS]
    for thread in threads:
        thread.start()
    assert httpx.get(f"{served}/health/live").status_code == 200
    for thread in threads:
        thread.join()

    for kind, statuses in ATTACKS.items():
        status, seconds = found[kind]
        assert status in statuses, kind
        assert seconds < SEND_SECONDS + 4, kind
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.slow
def test_the_connections_that_wait_the_longest_make_room(served: str) -> None:
    idle = [connect(served) for _ in range(3 * CONNECTIONS)]

    start = time.monotonic()
    answer = httpx.get(f"{served}/health/live")

    assert answer.status_code == 200
    assert time.monotonic() - start < SEND_SECONDS
    for client in idle:
        client.close()


@pytest.mark.slow
def test_a_client_that_does_not_read_is_cut_off(served: str, caplog: pytest.LogCaptureFixture) -> None:
    with connect(served) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        start = time.monotonic()
        try:
            # The answers fill the buffers of both sides.
            while time.monotonic() - start < 10:
                client.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n")
                time.sleep(0.01)
        except OSError:
            pass
        assert time.monotonic() - start < 10
    assert httpx.get(f"{served}/health/live").status_code == 200
    assert not [record for record in caplog.records if record.exc_info]


class Clock:
    now = 0.0

    def time(self) -> float:
        return self.now


class Transport:
    """A connection to a client, without the client."""

    def __init__(self) -> None:
        self.state, self.written = "open", b""

    def get_extra_info(self, _: str) -> None:
        return None

    def is_closing(self) -> bool:
        return self.state != "open"

    def write(self, content: bytes) -> None:
        self.written += content

    def close(self) -> None:
        self.state = "closed"

    def abort(self) -> None:
        self.state = "aborted"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def connection(clock: Clock) -> Connection:
    kind = bound_connections(Limits(send_seconds=SEND_SECONDS))
    made = kind(uvicorn.Config(lambda: None, log_config=None), ServerState(), {}, clock)
    made.connection_made(Transport())  # type: ignore[arg-type]
    return made


def expire_after(connection: Connection, clock: Clock, seconds: float) -> str:
    """Return the state of the transport some seconds later."""
    clock.now += seconds
    connection.expire()
    return str(connection.transport.state)  # type: ignore[attr-defined]


def test_a_connection_without_a_request_is_closed_without_an_answer(
    connection: Connection, clock: Clock
) -> None:
    assert expire_after(connection, clock, SEND_SECONDS) == "open"
    assert expire_after(connection, clock, 0.1) == "closed"
    assert connection.transport.written == b""  # type: ignore[attr-defined]


def test_a_part_of_a_head_is_answered_and_the_time_does_not_start_again(
    connection: Connection, clock: Clock
) -> None:
    for part in (b"GET / HT", b"TP/1.1\r\n", b"Host: x\r\n"):
        connection.data_received(part)
        clock.now += 0.5
    assert expire_after(connection, clock, 0) == "closed"
    assert connection.transport.written.startswith(b"HTTP/1.1 408")  # type: ignore[attr-defined]


def test_a_client_that_reads_again_in_time_is_not_cut_off(connection: Connection, clock: Clock) -> None:
    connection._waiting_since = None  # noqa: SLF001 - as while a request is answered
    connection.pause_writing()
    assert expire_after(connection, clock, SEND_SECONDS) == "open"
    connection.resume_writing()
    assert expire_after(connection, clock, 10) == "open"
    connection.pause_writing()
    assert expire_after(connection, clock, SEND_SECONDS + 1) == "aborted"


def test_what_a_closed_connection_cannot_send_is_dropped_in_the_end(
    connection: Connection, clock: Clock
) -> None:
    connection.transport.close()
    assert expire_after(connection, clock, 1) == "closed"
    assert expire_after(connection, clock, LINGER_SECONDS + 1) == "aborted"


@pytest.mark.slow
def test_an_answer_follows_several_pipelined_requests_in_order(served: str) -> None:
    with connect(served) as client:
        request = b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-Request-ID: %d\r\n\r\n"
        client.sendall(b"".join(request % number for number in range(5)))
        received = read(client)
    assert received.count(b'{"status":"ok"}') == 5
    ids = [line.split(b": ")[1] for line in received.splitlines() if line.startswith(b"x-request-id")]
    assert ids == [b"0", b"1", b"2", b"3", b"4"]


@pytest.mark.parametrize(
    ("before", "after", "warned"),
    [
        ((1024, 20_000), (2064, 20_000), False),
        ((1024, resource.RLIM_INFINITY), (2064, resource.RLIM_INFINITY), False),
        ((1024, 1500), (1500, 1500), False),
        ((1024, 1024), (1024, 1024), True),
        ((4096, 4096), (4096, 4096), False),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), None, False),
    ],
)
def test_a_low_limit_on_open_files_is_raised_or_reported(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    before: tuple[int, int],
    after: tuple[int, int] | None,
    *,
    warned: bool,
) -> None:
    limits = [before]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, wanted: limits.append(wanted))
    allow_open_files(connections=1000)
    assert limits[-1] == (after or before)
    assert bool(caplog.messages) == warned
