"""The log: one line for each message and each request, as JSON or as text.

A line has neither file names, images, query values, keys nor addresses of clients. No text in it can start another line.
"""

import asyncio
import logging
import sys
import time
from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import orjson

from visiongate.serving.request_context import RequestContext, current_request
from visiongate.settings.serving import Serving

access_log = logging.getLogger("visiongate.access")
# Probes and scrapes would be most of the log, and of the traces.
QUIET_PATHS: Final = ("/health", "/metrics", "/v2/health")
FAILED: Final = 400
FLUSH_SECONDS: Final = 0.05
# Control characters, separators of lines, and marks that reverse the direction of text.
_ESCAPES: Final = {
    code: f"\\u{code:04x}"
    for code in (
        *range(0x20),
        *range(0x7F, 0xA0),
        0x2028,
        0x2029,
        *range(0x202A, 0x202F),
        *range(0x2066, 0x206A),
    )
}


class JsonFormatter(logging.Formatter):
    """An object on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "time": _time(record).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": _text(record.getMessage()),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = _text(self.formatException(record.exc_info))
        return orjson.dumps(line, default=str).decode()


class TextFormatter(logging.Formatter):
    """A line for people; a traceback follows it, indented."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        fields = " ".join(f"{name}={value}" for name, value in getattr(record, "fields", {}).items())
        message = _text(f"{record.getMessage()}  {fields}".rstrip()).translate(_ESCAPES)
        line = f"{_time(record):%H:%M:%S} {record.levelname:<7} {message}"
        if record.exc_info:
            lines = _text(self.formatException(record.exc_info)).split("\n")
            line = "\n    ".join([line, *(each.translate(_ESCAPES) for each in lines)])
        return line


class _Handler(logging.StreamHandler[TextIO]):
    """Writes the lines of some milliseconds at once: under load, each write would wait for the threads of the model.

    What cannot be written is dropped: a full disk or a reader that left must not end the service.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._records: list[logging.LogRecord] = []
        # Which will flush the records.
        self._loop: asyncio.AbstractEventLoop | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record until the next `flush`."""
        # The request is known now.
        record.fields = _fields(record)
        self._records.append(record)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.flush()
            return
        if record.levelno >= logging.WARNING:
            self.flush()
        elif self._loop is not loop:
            self._loop = loop
            loop.call_later(FLUSH_SECONDS, self.flush)

    def flush(self) -> None:
        """Write the lines; `logging` does it at the end, too."""
        with self.lock or nullcontext():
            records, self._records, self._loop = self._records, [], None
        if records:
            with suppress(OSError, ValueError):
                self.stream.write("".join(f"{self.format(record)}\n" for record in records))
                self.stream.flush()


def configure_log(settings: Serving, stream: TextIO = sys.stderr) -> None:
    """Send the messages of the service and of its HTTP server to a stream, in place of `visiongate.logs`.

    Args:
        settings: The level and the format.
        stream: Standard error.
    """
    as_text = settings.log_format == "text" or (settings.log_format == "auto" and stream.isatty())
    handler = _Handler(stream)
    handler.setFormatter(TextFormatter() if as_text else JsonFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
    for name in ("visiongate", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(settings.log_level)


def log_request(context: RequestContext, method: str, route: str | None, status: int, start: float) -> None:
    """Write the line of an answered request.

    Args:
        context: The request.
        method: Its method.
        route: The template of its path; None for an unknown path, which is not written.
        status: Of the answer.
        start: When it arrived, in seconds of `time.perf_counter`.
    """
    quiet = status < FAILED and route is not None and route.startswith(QUIET_PATHS)
    level = logging.DEBUG if quiet else logging.INFO
    if not access_log.isEnabledFor(level):
        return
    fields = {
        "method": method,
        "route": route,
        "status": status,
        "duration_ms": round(1000 * (time.perf_counter() - start), 2),
        "bytes_in": context.bytes_in,
        "images": context.images or None,
        "model": context.model,
        "model_version": context.model_version,
        "problem": context.problem,
        "key": context.key,
    }
    known = {name: value for name, value in fields.items() if value is not None}
    arguments = (method, route or "unknown path", status)
    # `Logger.log` would look for the file and line of its caller.
    access_log.handle(
        access_log.makeRecord(
            access_log.name, level, "", 0, "%s %s %s", arguments, None, extra={"fields": known}
        )
    )


def _fields(record: logging.LogRecord) -> dict[str, object]:
    context = current_request.get()
    ids = {} if context is None else {"request_id": context.request_id}
    if context is not None and context.trace_id is not None:
        ids["trace_id"] = context.trace_id
    return ids | getattr(record, "fields", {})


def _time(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


def _text(text: str) -> str:
    """Return a text that UTF-8 can encode."""
    return text.encode(errors="backslashreplace").decode()
