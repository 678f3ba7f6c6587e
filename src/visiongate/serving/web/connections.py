"""The connections of the service: HTTP/1.1 as uvicorn implements it, with the bounds that it lacks.

A client can neither hold a connection by sending or reading slowly, nor fill the memory with headers, trailers or pipelined
requests. When too many connections are open, those that have waited the longest for a request make room.
"""

from asyncio import BaseTransport, Transport
from heapq import nsmallest
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from visiongate.serving.web.problems import Problem
from visiongate.settings.serving import Limits

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

HEAD_BYTES: Final = 65_536
HEADERS: Final = 100
PIPELINED: Final = 16
# For what was sent to arrive, after the connection is closed.
LINGER_SECONDS: Final = 5.0


class Connection(HttpToolsProtocol):
    """A connection. `expire` must be called about once a second."""

    limits: ClassVar[Limits]

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - as uvicorn has it
        super().__init__(*arguments, **options)
        # Bytes since the parser had a complete head or a part of a body.
        self._unparsed = 0
        # Each is a time of the loop: since when a head is incomplete, the client does not read, the connection is closed.
        self._waiting_since: float | None = self.loop.time()
        self._unread_since: float | None = None
        self._closed_since: float | None = None
        self._answering: RequestResponseCycle | None = None

    def connection_made(self, transport: BaseTransport) -> None:
        """Close other connections if there are too many."""
        super().connection_made(cast("Transport", transport))
        if len(self.connections) > self.limits.connections:
            others = cast("set[Connection]", self.connections - {self})
            waiting = [each for each in others if each.is_waiting]
            # Several at once, so that a flood of connections does not cost a search each.
            oldest = nsmallest(1 + self.limits.connections // 20, waiting, key=lambda each: each.waits_since)
            for each in oldest or [self]:
                each.transport.abort()

    @property
    def is_waiting(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def is_new(self) -> bool:
        """Whether no request has arrived yet."""
        return self.cycle is None

    @property
    def waits_since(self) -> float:
        """When the current head began to arrive; 0 for a connection that was kept alive."""
        return self._waiting_since or 0.0

    def data_received(self, data: bytes) -> None:
        """Parse some bytes."""
        self._unparsed += len(data)
        super().data_received(data)
        if self._unparsed > HEAD_BYTES and not self.transport.is_closing():
            self._refuse(_too_large())
        if not self.is_waiting:
            self._waiting_since = None
        elif self._waiting_since is None:
            self._waiting_since = self.loop.time()

    def on_headers_complete(self) -> None:
        """Start a request."""
        self._unparsed = 0
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > HEAD_BYTES or len(self.headers) > HEADERS:
            self.app = _answer_too_large
        if len(self.pipeline) >= PIPELINED:
            # The parser reports it as an invalid request.
            raise ValueError("too many pipelined requests")
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Keep a part of a body."""
        self._unparsed = 0
        super().on_body(body)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: "ASGI3Application") -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the request that is being answered, too; uvicorn ends the last one that has arrived."""
        if self._answering is not None:
            self._answering.disconnected = True
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP."""
        self._refuse(Problem("invalid_request", msg))

    def _refuse(self, problem: Problem) -> None:
        """Answer what cannot be parsed, unless another answer has begun, and close the connection."""
        answering = None if self.is_waiting else self._answering
        if answering is None or (answering is self.cycle and not answering.response_started):
            response = problem.response()
            head = [*self.server_state.default_headers, *response.raw_headers, (b"connection", b"close")]
            lines = b"".join(b"%b: %b\r\n" % header for header in head)
            self.transport.write(STATUS_LINE[problem.status] + lines + b"\r\n" + bytes(response.body))
        if answering is not None:
            answering.disconnected = True
            answering.message_event.set()
        self.transport.close()

    def _unsupported_upgrade_warning(self) -> None:
        """Answer the request as if it asked for no upgrade, which HTTP allows."""

    def pause_writing(self) -> None:
        """Note that the client does not read."""
        self._unread_since = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Note that the client reads."""
        self._unread_since = None
        super().resume_writing()

    def expire(self) -> None:
        """Close the connection if its client is too slow."""
        now = self.loop.time()
        if self.transport.is_closing():
            self._closed_since = self._closed_since or now
            if now - self._closed_since > LINGER_SECONDS:
                self.transport.abort()
        elif _has_passed(self._unread_since, now, self.limits.send_seconds):
            self.transport.abort()
        elif self.is_waiting and _has_passed(self._waiting_since, now, self.limits.send_seconds):
            self._time_out()

    def _time_out(self) -> None:
        if self._unparsed:
            seconds = self.limits.send_seconds
            self._refuse(Problem("slow_request", f"the headers did not arrive within {seconds:g} seconds"))
        else:
            # Nothing was asked. A browser that connects in advance would take an answer for that to its next request.
            self.transport.close()


def bound_connections(limits: Limits) -> type[Connection]:
    """Return the class of connections with some limits."""
    return type("BoundConnection", (Connection,), {"limits": limits})


def _has_passed(since: float | None, now: float, seconds: float) -> bool:
    return since is not None and now - since > seconds


async def _answer_too_large(scope: Scope, receive: Receive, send: Send) -> None:
    await _too_large().response()(scope, receive, send)


def _too_large() -> Problem:
    return Problem(
        "headers_too_large",
        f"the request has more than {HEADERS} headers or {HEAD_BYTES} bytes of them",
        {"Connection": "close"},
    )
