"""What is known about the request that is being handled, for the log, the traces and the answer."""

import asyncio
import random
import re
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from opentelemetry.trace import Span

REQUEST_ID: Final = b"x-request-id"
TRACEPARENT: Final = b"traceparent"
_SAFE_ID: Final = re.compile(rb"[A-Za-z0-9._~:/+=@-]{1,128}")
# Trace Context, W3C Recommendation 2021, section 3.2. Version 00 has 55 characters; later ones may append fields.
_TRACEPARENT: Final = re.compile(
    rb"(?!ff|00.{54})[0-9a-f]{2}-(?!0{32})(?P<trace>[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-[!-~]*)?"
)


@dataclass(slots=True)
class RequestContext:
    """A request, and what happened to it so far. One object for all tasks of the request.

    Attributes:
        request_id: That of the client if it is valid, else its trace id, else a random one.
        trace_id: Of the client's trace, or of the service's own; None without a trace.
        traceparent: The valid header; None without one.
        bytes_in: Bytes of the body that have arrived.
        images: Images that were predicted.
        model: Name of the model that predicted.
        model_version: Of that model; None for a file.
        problem: Kind of the problem that was answered.
        key: Name of the API key.
        span: Of the request, if it is traced.
        can_ask: Whether the answer has a place for the question what an image shows.
        deadline: When the answer is too late, by the clock of the event loop; None before the body has arrived.
    """

    request_id: str
    trace_id: str | None = None
    traceparent: str | None = None
    bytes_in: int = 0
    images: int = 0
    model: str | None = None
    model_version: str | None = None
    problem: str | None = None
    key: str | None = None
    span: "Span | None" = None
    can_ask: bool = False
    deadline: float | None = None

    def is_late(self) -> bool:
        """Return whether the deadline has passed. Call it in the event loop."""
        return self.deadline is not None and asyncio.get_running_loop().time() >= self.deadline


current_request: ContextVar[RequestContext | None] = ContextVar("current_request", default=None)


def read_context(headers: Iterable[tuple[bytes, bytes]]) -> RequestContext:
    """Return the context of a request by its headers, whose names are in lower case."""
    request_id = trace_id = traceparent = None
    for name, value in headers:
        if name == REQUEST_ID and _SAFE_ID.fullmatch(value):
            request_id = value.decode()
        elif name == TRACEPARENT and (match := _TRACEPARENT.fullmatch(value)):
            trace_id, traceparent = match["trace"].decode(), value.decode()
    # It need not be unguessable.
    made = request_id or trace_id or random.randbytes(16).hex()  # noqa: S311
    return RequestContext(made, trace_id, traceparent)
