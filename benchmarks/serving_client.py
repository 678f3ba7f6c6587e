"""Send requests to a service and print what came back, as JSON; `benchmarks/serving.py` starts it as a process of its own.

    python benchmarks/serving_client.py '{"port": 8000, "requests": "FOLDER", "clients": 64, "seconds": 5, "warmup": 1}'

The folder has whole HTTP requests, which are sent in turn. With ``clients``, each sends its next request after the answer to
the last. With ``rate``, requests per second are sent whether or not answers have come. ``live`` is a path that is asked for ten
times per second in addition.
"""

import asyncio
import json
import re
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count, cycle
from pathlib import Path
from typing import Any

LIVE_SECONDS = 0.1
TIMEOUT_SECONDS = 30.0
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(slots=True)
class Load:
    """The load on a port, and its answers: when each request was sent, seconds, status and whether it names ``Retry-After``."""

    port: int
    requests: Iterator[bytes]
    end: float
    answers: list[tuple[float, float, int, bool]] = field(default_factory=list)
    live: list[tuple[float, float, int, bool]] = field(default_factory=list)
    idle: list[Connection] = field(default_factory=list)

    async def closed(self, clients: int) -> None:
        """Let each client wait for its answers."""
        await asyncio.gather(*(self._client() for _ in range(clients)))

    async def _client(self) -> None:
        while time.perf_counter() < self.end:
            self.answers.append(await self.ask(next(self.requests)))

    async def open(self, rate: float) -> None:
        """Send requests at a rate."""
        start, tasks = time.perf_counter(), []
        for number in count():
            at = start + number / rate
            if at > self.end:
                break
            if (early := at - time.perf_counter()) > 0:
                await asyncio.sleep(early)
            tasks.append(asyncio.create_task(self.ask(next(self.requests))))
        self.answers += await asyncio.gather(*tasks)

    async def ask_live(self, path: str) -> None:
        """Ask whether the service lives, until the end."""
        request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        while time.perf_counter() < self.end:
            self.live.append(await self.ask(request))
            await asyncio.sleep(LIVE_SECONDS)

    async def ask(self, request: bytes) -> tuple[float, float, int, bool]:
        """Send a request; the status is 0 if no answer comes."""
        start = time.perf_counter()
        status, retries = 0, False
        with suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
            async with asyncio.timeout(TIMEOUT_SECONDS), self._connection() as (reader, writer):
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                length = LENGTH.search(head)
                await reader.readexactly(int(length[1]) if length else 0)
                status, retries = int(head[9:12]), b"\r\nretry-after:" in head.lower()
        return start, time.perf_counter() - start, status, retries

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        while self.idle and self.idle[-1][0].at_eof():
            self.idle.pop()[1].close()
        connection = self.idle.pop() if self.idle else await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield connection
        except BaseException:
            connection[1].close()
            raise
        self.idle.append(connection)


async def run(options: dict[str, Any], requests: Iterator[bytes]) -> dict[str, Any]:
    """Return the answers to requests that were sent after the warm-up."""
    measured = time.perf_counter() + options["warmup"]
    load = Load(options["port"], requests, measured + options["seconds"])
    work = load.closed(options["clients"]) if "clients" in options else load.open(options["rate"])
    await asyncio.gather(work, *([load.ask_live(options["live"])] if "live" in options else []))
    return {
        "answers": [answer[1:] for answer in load.answers if answer[0] >= measured],
        "finished": sum(measured <= start + seconds < load.end for start, seconds, *_ in load.answers),
        "live": [answer[1:] for answer in load.live],
    }


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    contents = [path.read_bytes() for path in sorted(Path(given["requests"]).iterdir())]
    print(json.dumps(asyncio.run(run(given, cycle(contents)))))
