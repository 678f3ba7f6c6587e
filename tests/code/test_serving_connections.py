"""Slow and hostile clients, over real sockets: they are cut off, and everyone else is answered."""

import socket
import threading
import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from pooled_models import write_pooled_model
from served import Process, process

pytestmark = pytest.mark.slow
SEND_SECONDS, CONNECTIONS = 1, 40
Attack = Callable[[socket.socket], None]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("served")
    model = folder / "model.onnx"
    write_pooled_model(model)
    environment = {
        "VISIONGATE_SERVING__LIMITS__SEND_SECONDS": str(SEND_SECONDS),
        "VISIONGATE_SERVING__LIMITS__IDLE_SECONDS": "1",
        "VISIONGATE_SERVING__LIMITS__CONNECTIONS": str(CONNECTIONS),
        "VISIONGATE_SERVING__LOG__ENABLED": "false",
    }
    with process(model, folder, environment) as running:
        yield running


def connect(served: Process) -> socket.socket:
    client = socket.create_connection(served.listener.getsockname())
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
    send_endless_trailers: {b"", b"431"},
    pipeline_many_requests: {b"", b"200"},
    send_no_http: {b"400"},
}


def test_each_attack_is_cut_off(served: Process) -> None:
    found: dict[Attack, tuple[bytes, float]] = {}

    def attack(kind: Attack) -> None:
        start = time.monotonic()
        with connect(served) as client:
            kind(client)
            found[kind] = read(client)[9:12], time.monotonic() - start

    threads = [threading.Thread(target=attack, args=[kind]) for kind in ATTACKS]
    for thread in threads:
        thread.start()
    assert httpx.get(f"{served.url}/health/live").status_code == 200
    for thread in threads:
        thread.join()

    for kind, statuses in ATTACKS.items():
        status, seconds = found[kind]
        assert status in statuses, kind
        assert seconds < SEND_SECONDS + 4, kind
    assert "Traceback" not in served.log
    assert served.process.poll() is None


def test_the_connections_that_wait_the_longest_make_room(served: Process) -> None:
    idle = [connect(served) for _ in range(3 * CONNECTIONS)]

    start = time.monotonic()
    answer = httpx.get(f"{served.url}/health/live")

    assert answer.status_code == 200
    assert time.monotonic() - start < SEND_SECONDS
    for client in idle:
        client.close()


def test_a_client_that_does_not_read_is_cut_off(served: Process) -> None:
    with connect(served) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        start = time.monotonic()
        try:
            # The answers fill the buffers of both sides.
            while time.monotonic() - start < 10:
                client.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n")
                time.sleep(0.002)
        except OSError:
            pass
        assert time.monotonic() - start < 10
    assert httpx.get(f"{served.url}/health/live").status_code == 200


def test_an_answer_follows_several_pipelined_requests_in_order(served: Process) -> None:
    with connect(served) as client:
        request = b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-Request-ID: %d\r\n\r\n"
        client.sendall(b"".join(request % number for number in range(5)))
        received = read(client)
    assert received.count(b'{"status":"ok"}') == 5
    ids = [line.split(b": ")[1] for line in received.splitlines() if line.startswith(b"x-request-id")]
    assert ids == [b"0", b"1", b"2", b"3", b"4"]
