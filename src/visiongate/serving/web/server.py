"""The process of the service: a socket, signals, and an orderly end."""

import asyncio
import ctypes
import gc
import logging
import resource
import signal
import socket
import time
from contextlib import suppress
from types import FrameType
from typing import cast

import uvicorn
from fastapi import FastAPI

from visiongate.serving.service import Service
from visiongate.serving.web.connections import Connection, bound_connections

# Of glibc's malloc.h: memory from this size is a mapping of its own. By default, glibc raises the size as it goes.
MMAP_THRESHOLD, LARGE_BYTES = -3, 1_000_000
# Open files besides connections: models, databases, pipes.
OTHER_FILES = 64
logger = logging.getLogger(__name__)
# Connections for each turn of the event loop. uvloop accepts only one of a socket, so that under load a probe would wait for
# seconds behind others. Therefore the socket is listed as often.
ACCEPTED = 16
# In which the request of a client arrives that has just connected.
ARRIVAL_SECONDS = 1.0


class Server(uvicorn.Server):
    """Finishes what was accepted, after SIGTERM or SIGINT.

    Answers then carry ``Connection: close``, so that clients open their next connection elsewhere. For `Limits.drain_seconds`,
    the socket and idle connections stay open, because a load balancer and clients cannot know yet. Ctrl-C does not wait.
    """

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self._is_interrupted = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Note a signal."""
        self._service.draining = True
        self._is_interrupted = sig == signal.SIGINT
        super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Close the connections of slow clients; called ten times a second."""
        if counter % 10 == 0:
            for connection in cast("set[Connection]", self.server_state.connections.copy()):
                connection.expire()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting connections, and end the open ones after their requests."""
        if not self._is_interrupted:
            await self._drain()
        for server in self.servers:
            server.close()
        if not self._is_interrupted:
            await self._await_first_requests()
        await super().shutdown(sockets)

    async def _drain(self) -> None:
        end = time.monotonic() + self._service.settings.limits.drain_seconds
        # The connections of slow clients still end.
        while time.monotonic() < end:
            await self.on_tick(0)
            await asyncio.sleep(0.1)

    async def _await_first_requests(self) -> None:
        """Let the clients that connected last send their request, which would be lost otherwise."""
        end = time.monotonic() + ARRIVAL_SECONDS
        connections = cast("set[Connection]", self.server_state.connections)
        while time.monotonic() < end and any(each.is_new for each in connections):  # noqa: ASYNC110 - uvicorn has no event
            await asyncio.sleep(0.01)


def serve(application: FastAPI, service: Service, listener: socket.socket | None = None) -> None:
    """Serve until a signal arrives.

    Args:
        application: See `build_application`.
        service: Its service.
        listener: A listening socket; by default, one is opened as the settings say.
    """
    server = Server(configure(application, service), service)
    # A signal may arrive before the event loop runs. uvicorn raises it again after the shutdown; the process then ends with
    # status 0 instead of dying of it.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, server.handle_exit)
    # What has been imported is no garbage. Looking through it would stop every request for some tens of milliseconds.
    gc.collect()
    gc.freeze()
    allow_open_files(service.settings.limits.connections)
    _return_memory()
    server.run(None if listener is None else _repeat(listener))


def _return_memory() -> None:
    """Have the C library return the memory of a decoded image to the system, instead of keeping it for the next one."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(MMAP_THRESHOLD, LARGE_BYTES)


def _repeat(listener: socket.socket) -> list[socket.socket]:
    """Return a socket as often as connections are to be accepted at a time."""
    # Otherwise the copies would block, also in another process that has the same socket.
    listener.settimeout(0)
    return [listener, *(listener.dup() for _ in range(ACCEPTED - 1))]


def allow_open_files(connections: int) -> None:
    """Raise the limit on open files, often 1024, as far as the system allows without privileges."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Under a flood, connections that have been closed remain for a moment.
    wanted = 2 * connections + OTHER_FILES
    wanted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and wanted > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if wanted < connections + OTHER_FILES:
        logger.warning(
            "The system allows %d open files, too few for serving.limits.connections = %d; raise it with `ulimit -n`",
            wanted,
            connections,
        )


def configure(application: FastAPI, service: Service) -> uvicorn.Config:
    """Return the configuration of the HTTP server."""
    settings = service.settings
    limits = settings.limits
    return uvicorn.Config(
        application,
        host=settings.host,
        port=settings.port,
        http=bound_connections(limits),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=2048,
        timeout_keep_alive=limits.idle_seconds,
        timeout_graceful_shutdown=int(limits.deadline_seconds + limits.send_seconds) + 1,
    )
