"""What happens around every request: its context, the headers of the answer, the log and the metrics."""

import logging
import time
from collections.abc import Callable
from typing import Final

from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from visiongate.serving.service import Service
from visiongate.serving.web.error_answers import CLIENT_CLOSED_REQUEST, ErrorAnswers
from visiongate.serving.web.problems import Problem
from visiongate.serving.web.request_context import RequestContext, current_request, read_context
from visiongate.serving.web.request_log import QUIET_PATHS, log_request

logger = logging.getLogger(__name__)
Headers = list[tuple[bytes, bytes]]
FixedHeaders = Callable[[RequestContext], Headers]
# A page sets a content security policy of its own.
SECURITY_HEADERS: Final[Headers] = [
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(self), geolocation=(), microphone=()"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
]


class RequestMiddleware:
    """The outermost layer.

    Args:
        app: The layers below.
        service: Whose metrics count the answers.
        errors: Answers what no layer below has answered.
    """

    def __init__(self, app: ASGIApp, service: Service, errors: ErrorAnswers) -> None:
        self._app, self._service, self._errors = app, service, errors
        self._headers = [*SECURITY_HEADERS]
        if seconds := service.settings.hsts_seconds:
            self._headers.append((b"strict-transport-security", b"max-age=%d" % seconds))
        # Routes that are not FastAPI's do not tell their path.
        self._paths: dict[object, str] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, method = time.perf_counter(), scope["method"]
        context = read_context(scope["headers"])
        token = current_request.set(context)
        tracing = None if scope["path"].startswith(QUIET_PATHS) else self._service.tracing
        if tracing:
            tracing.start(context, method)
        exchange = _Exchange(context, receive, send, self._fixed_headers)
        # The server sends no body for HEAD.
        inner = {**scope, "method": "GET"} if method == "HEAD" else scope
        try:
            await self._answer(inner, exchange)
        finally:
            status = exchange.status or CLIENT_CLOSED_REQUEST
            route = self._route(inner)
            self._service.metrics.answered(route, method, status)
            log_request(context, method, route, status, start)
            if tracing:
                tracing.end(context, method, route, status)
            current_request.reset(token)

    async def _answer(self, scope: Scope, exchange: "_Exchange") -> None:
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except Exception as error:
            problem = error if isinstance(error, Problem) else Problem("internal", "the service failed")
            if problem is not error:
                logger.exception("A request failed")
            # Otherwise the server closes the connection, so that the client notices.
            if exchange.status is None:
                response = self._errors.respond(problem, scope["path"])
                await response(scope, exchange.receive, exchange.send)

    def _fixed_headers(self, context: RequestContext) -> Headers:
        headers = [*self._headers, (b"x-request-id", context.request_id.encode())]
        if self._service.draining:
            # The client opens its next connection to another process.
            headers.append((b"connection", b"close"))
        return headers

    def _route(self, scope: Scope) -> str | None:
        """Return the template of the path; None if no route has it."""
        if route := scope.get("route"):
            return str(route.path)
        endpoint = scope.get("endpoint")
        if endpoint is None:
            return None
        if not self._paths:
            self._paths = {
                each.endpoint: each.path for each in scope["app"].routes if isinstance(each, Route)
            }
        return self._paths.get(endpoint)


class _Exchange:
    """The messages of a request and of its answer.

    Attributes:
        status: Of the answer; None before it starts.
    """

    __slots__ = ("_context", "_headers", "_receive", "_send", "status")

    def __init__(self, context: RequestContext, receive: Receive, send: Send, headers: FixedHeaders) -> None:
        self._context, self._receive, self._send, self._headers = context, receive, send, headers
        self.status: int | None = None

    async def receive(self) -> Message:
        message = await self._receive()
        self._context.bytes_in += len(message.get("body", b""))
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = list(message.get("headers", ()))
            names = {name for name, _ in headers}
            headers.extend(header for header in self._headers(self._context) if header[0] not in names)
            message = {**message, "headers": headers}
        await self._send(message)
