"""A proxy in front of an S3 server that does to chosen requests what networks, clocks and disks do."""

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive", "server", "date"}


@dataclass(slots=True)
class Reply:
    """What goes back to the client."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    length: int | None = None  # the one announced, where it is not the body's


@dataclass(frozen=True, slots=True)
class Request:
    """What the client asks for, and how many requests came before it."""

    method: str
    path: str
    number: int


Fault = Callable[[Request, Callable[[], Reply]], Reply | None]  # None closes the connection without an answer


@dataclass
class Proxy:
    """Where it listens, what it does, and what was asked of it."""

    endpoint: str
    fault: Fault
    requests: list[Request] = field(default_factory=list)

    def count(self, method: str, part: str) -> int:
        """Count the requests by method and a part of the path."""
        return sum(request.method == method and part in request.path for request in self.requests)


def pass_on(_request: Request, forward: Callable[[], Reply]) -> Reply:
    """Do nothing wrong."""
    return forward()


def refuse(code: str, status: int = 403) -> Fault:
    """Answer as S3 answers to wrong or expired credentials."""
    body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>The {code} of a test</Message></Error>'
    reply = Reply(status, [("Content-Type", "application/xml")], body.encode())
    return lambda request, _: Reply(
        reply.status, reply.headers, b"" if request.method == "HEAD" else body.encode()
    )


def lose(part: str) -> Fault:
    """Have no object whose key has this part."""
    missing = refuse("NoSuchKey", 404)
    return lambda request, forward: (missing if part in request.path else pass_on)(request, forward)


def change(part: str, alter: Callable[[bytes], bytes]) -> Fault:
    """Alter the bytes of the objects whose key has this part, and tell the length of what is sent."""

    def fault(request: Request, forward: Callable[[], Reply]) -> Reply:
        reply = forward()
        if request.method == "GET" and part in request.path and reply.status in {200, 206}:
            reply.body = alter(reply.body)
        return reply

    return fault


def cut(part: str) -> Fault:
    """Announce the whole object, send half of it and hang up: a connection that breaks."""

    def fault(request: Request, forward: Callable[[], Reply]) -> Reply:
        reply = forward()
        if request.method == "GET" and part in request.path and reply.status in {200, 206}:
            reply.length, reply.body = len(reply.body), reply.body[: len(reply.body) // 2]
        return reply

    return fault


def die_after(count: int) -> Fault:
    """Answer so many requests and then close each connection, as a server that was killed."""
    return lambda request, forward: forward() if request.number < count else None


def hang(seconds: threading.Event) -> Fault:
    """Answer nothing until the event is set."""

    def fault(_request: Request, _forward: Callable[[], Reply]) -> None:
        seconds.wait()

    return fault


@contextmanager
def serve_faults(target: str, fault: Fault = pass_on) -> Iterator[Proxy]:
    """Stand in front of a server; yield the proxy, whose fault may be changed while it runs."""
    upstream = urlsplit(target).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            request = Request(self.command, self.path, len(proxy.requests))
            proxy.requests.append(request)
            reply = proxy.fault(request, lambda: self.forward(body))
            self.close_connection = reply is None or reply.length is not None
            if reply is None:
                return
            self.send_response(reply.status)
            for name, value in reply.headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body) if reply.length is None else reply.length))
            self.end_headers()
            self.wfile.write(reply.body)

        def forward(self, body: bytes) -> Reply:
            connection = http.client.HTTPConnection(upstream, timeout=30)
            connection.request(self.command, self.path, body, dict(self.headers))
            answer = connection.getresponse()
            headers = [pair for pair in answer.getheaders() if pair[0].lower() not in HOP_BY_HOP]
            length = answer.getheader("Content-Length") if self.command == "HEAD" else None
            return Reply(answer.status, headers, answer.read(), None if length is None else int(length))

        def log_message(self, *_arguments: object) -> None:
            pass

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = answer  # noqa: N815 - the server's names

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    proxy = Proxy(f"http://127.0.0.1:{server.server_address[1]}", fault)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
