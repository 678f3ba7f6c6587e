"""The log: one line for each message and each request, as JSON or as text.

A line has neither file names, images, query values, keys nor addresses of clients. No text in it can start another line.
"""

import logging
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import orjson

from visiongate.serving.web.request_context import RequestContext, current_request
from visiongate.settings.serving import Serving

access_log = logging.getLogger("visiongate.access")
# Probes and scrapes would be most of the log, and of the traces.
QUIET_PATHS: Final = ("/health", "/metrics", "/v2/health")
FAILED: Final = 400
# Lines gather before they are written; so many may wait; how long the end of the process waits for a reader.
GATHER_SECONDS: Final = 0.05
MAX_WAITING: Final = 10_000
FLUSH_SECONDS: Final = 1.0
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


class _Handler(logging.Handler):
    """Writes the lines of some milliseconds at once, in a thread of its own.

    A full disk, a reader that left, or one that does not read must not end or stop the service: what cannot be written is
    dropped, and so are the oldest of too many waiting lines.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._records: deque[logging.LogRecord] = deque(maxlen=MAX_WAITING)
        self._has_records, self._writing = threading.Event(), threading.Lock()
        threading.Thread(target=self._run, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Hand a record to the thread."""
        # The request is known now.
        record.fields = _fields(record)
        self._records.append(record)
        if not self._has_records.is_set():
            self._has_records.set()

    def flush(self) -> None:
        """Write what waits; `logging` does it at the end, too."""
        # The thread may wait for a reader for ever.
        if self._writing.acquire(timeout=FLUSH_SECONDS):
            try:
                self._write()
            finally:
                self._writing.release()

    def _run(self) -> None:
        while self._has_records.wait():
            # Under load, each write would wait for the threads of the model.
            time.sleep(GATHER_SECONDS)
            self._has_records.clear()
            with self._writing:
                self._write()

    def _write(self) -> None:
        lines = [self._line(self._records.popleft()) for _ in range(len(self._records))]
        if lines:
            with suppress(OSError, ValueError):
                self._stream.write("".join(lines))
                self._stream.flush()

    def _line(self, record: logging.LogRecord) -> str:
        try:
            return f"{self.format(record)}\n"
        except Exception:  # noqa: BLE001 - a message that does not fit its arguments
            return ""


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
