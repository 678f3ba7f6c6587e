"""Send requests to a service and print what came back, as JSON; `benchmarks/serving.py` starts it as a process of its own.

    python benchmarks/serving_client.py '{"port": 8000, "requests": "FOLDER", "clients": 64, "seconds": 5, "warmup": 1}'

The folder has whole HTTP requests, which are sent in turn. With ``clients``, each sends its next request after the answer to
the last. With ``rate``, requests per second are sent whether or not answers have come. ``live`` is a path that is asked for ten
times per second in addition. It is written to take little of the cores that the service needs.
"""

import asyncio
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import uvloop

LIVE_SECONDS = 0.1
# After the end, for the last answers.
LATE_SECONDS = 30.0
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(slots=True)
class Answer:
    """An answer; the status is 0 if none came.

    Attributes:
        sent: When its request was sent.
        seconds: From then to the complete answer.
        status: Of HTTP.
        retries: Whether it has ``Retry-After``.
    """

    sent: float
    seconds: float
    status: int
    retries: bool


class Connection(asyncio.Protocol):
    """A connection with one request at a time.

    Args:
        answered: Called with the connection and each answer.
    """

    def __init__(self, answered: Callable[["Connection", Answer], None]) -> None:
        self._answered, self._buffer, self._sent = answered, b"", 0.0
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport

    @property
    def is_open(self) -> bool:
        """Whether it can send."""
        return not self._transport.is_closing()

    def send(self, request: bytes) -> None:
        """Send a request."""
        self._sent, self._buffer = time.perf_counter(), b""
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Collect an answer."""
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        length = LENGTH.search(head) if end else None
        if end and len(body) >= (int(length[1]) if length else 0):
            self._finish(int(head[9:12]), retries=b"\r\nretry-after:" in head.lower())

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - of the base class
        """Note that no answer will come."""
        if self._sent:
            self._finish(0, retries=False)

    def close(self) -> None:
        """Close it."""
        self._transport.close()

    def _finish(self, status: int, *, retries: bool) -> None:
        sent, self._sent = self._sent, 0.0
        self._answered(self, Answer(sent, time.perf_counter() - sent, status, retries))


@dataclass(slots=True)
class Load:
    """The load on a port, and its answers."""

    port: int
    requests: Iterator[bytes]
    end: float
    answers: list[Answer] = field(default_factory=list)
    live: list[Answer] = field(default_factory=list)
    idle: list[Connection] = field(default_factory=list)
    open: int = 0

    async def closed(self, clients: int) -> None:
        """Let each client wait for its answers."""

        def answered(connection: Connection, answer: Answer) -> None:
            self.answers.append(answer)
            if time.perf_counter() < self.end and connection.is_open:
                connection.send(next(self.requests))
            else:
                self.open -= 1

        for _ in range(clients):
            (await self.connect(answered)).send(next(self.requests))
            self.open += 1
        await self.drain()

    async def at_rate(self, rate: float) -> None:
        """Send requests at a rate."""

        def answered(connection: Connection, answer: Answer) -> None:
            self.answers.append(answer)
            self.open -= 1
            if connection.is_open:
                self.idle.append(connection)

        at = time.perf_counter()
        while at < self.end:
            if (early := at - time.perf_counter()) > 0:
                await asyncio.sleep(early)
            while self.idle and not self.idle[-1].is_open:
                self.idle.pop()
            connection = self.idle.pop() if self.idle else await self.connect(answered)
            self.open += 1
            connection.send(next(self.requests))
            at += 1 / rate
        await self.drain()

    async def ask_live(self, path: str) -> None:
        """Ask whether the service lives until the end, each time on a connection of its own, as Kubernetes does."""
        request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()

        def answered(connection: Connection, answer: Answer) -> None:
            self.live.append(answer)
            connection.close()

        while time.perf_counter() < self.end:
            (await self.connect(answered)).send(request)
            await asyncio.sleep(LIVE_SECONDS)

    async def connect(self, answered: Callable[[Connection, Answer], None]) -> Connection:
        """Open a connection."""
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: Connection(answered), "127.0.0.1", self.port)
        return connection

    async def drain(self) -> None:
        """Wait for the last answers."""
        await asyncio.sleep(max(0.0, self.end - time.perf_counter()))
        # No event, so that an answer costs little.
        while self.open and time.perf_counter() < self.end + LATE_SECONDS:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def run(options: dict[str, Any], requests: Iterator[bytes]) -> dict[str, Any]:
    """Return the answers to requests that were sent after the warm-up, and how many came within the time."""
    measured = time.perf_counter() + options["warmup"]
    load = Load(options["port"], requests, measured + options["seconds"])
    work = load.closed(options["clients"]) if "clients" in options else load.at_rate(options["rate"])
    await asyncio.gather(work, *([load.ask_live(options["live"])] if "live" in options else []))
    return {
        "answers": [
            [each.seconds, each.status, each.retries] for each in load.answers if each.sent >= measured
        ],
        "finished": sum(measured <= each.sent + each.seconds < load.end for each in load.answers),
        "unanswered": load.open,
        "live": [[each.seconds, each.status, each.retries] for each in load.live],
    }


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    contents = [path.read_bytes() for path in sorted(Path(given["requests"]).iterdir())]
    print(json.dumps(uvloop.run(run(given, cycle(contents)))))
