"""Apply a function to pieces of work in processes of this machine."""

import os
import pickle
import signal
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from threading import Thread
from typing import Any, TypeVar

from visiongate.errors import EngineError
from visiongate.settings.engine import Resources

Piece = TypeVar("Piece")
Result = TypeVar("Result")

# Of a worker that is interrupted in a piece, to close what it has opened.
STOP_SECONDS = 5


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What a function returned, or the error that it raised, with its traceback."""

    result: Any = None
    error: Exception | None = None
    trace: str = ""

    def unwrap(self) -> Any:  # noqa: ANN401 - any result
        if self.error is not None:
            raise self.error from EngineError(f"in a worker:\n{self.trace}")
        return self.result


@dataclass(frozen=True, eq=False, slots=True)
class _Worker:
    """A process, and this end of the connection to it."""

    process: SpawnProcess
    connection: "Connection[bytes, bytes]"

    @classmethod
    def start(cls) -> "_Worker":
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs,))
        process.start()
        theirs.close()
        return cls(process, ours)

    def receive(self) -> _Outcome:
        try:
            outcome: _Outcome = pickle.loads(self.connection.recv_bytes())  # noqa: S301 - from our own process
        except EOFError:
            self.process.join()
            raise EngineError(_explain_end(self.process.exitcode or 0)) from None
        return outcome

    def stop(self, *, is_busy: bool) -> None:
        self.connection.close()
        if is_busy and self.process.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGINT)
        self.process.join(STOP_SECONDS)
        self.process.kill()
        self.process.join()


class ProcessEngine:
    """Runs pieces in several processes, which start when they are needed and serve until `close`.

    Args:
        limit: The number of processes.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._idle: list[_Worker] = []
        self._busy: dict[_Worker, int] = {}

    def stream(
        self,
        function: Callable[[Piece], Result],
        pieces: Iterable[Piece],
        resources: Resources | None = None,  # noqa: ARG002 - of the protocol
    ) -> Iterator[Result]:
        """Apply a function to pieces in order: `engine.pieces.Engine.stream`."""
        waiting, done, first = enumerate(pieces), dict[int, _Outcome](), 0
        try:
            while True:
                for index, piece in islice(waiting, self._limit - len(self._busy)):
                    worker = self._idle.pop() if self._idle else _Worker.start()
                    self._busy[worker] = index
                    worker.connection.send_bytes(pickle.dumps((function, piece)))
                while first in done:
                    yield done.pop(first).unwrap()
                    first += 1
                if not self._busy:
                    return
                done |= self._receive()
        finally:
            # Nobody wants the results of what still runs after an error.
            if self._busy:
                self.close()

    def close(self) -> None:
        """End the processes, also those that are in a piece."""
        for worker in (*self._idle, *self._busy):
            worker.stop(is_busy=worker in self._busy)
        self._idle.clear()
        self._busy.clear()

    def _receive(self) -> dict[int, _Outcome]:
        """Wait for a worker, and return what the ready ones did by the index of the piece."""
        ready = set(wait([worker.connection for worker in self._busy]))
        outcomes = {}
        for worker in [worker for worker in self._busy if worker.connection in ready]:
            outcome = worker.receive()
            outcomes[self._busy.pop(worker)] = outcome
            self._idle.append(worker)
        return outcomes


@contextmanager
def open_processes(limit: int) -> Iterator[ProcessEngine]:
    """Provide processes within the block, and end them."""
    engine = ProcessEngine(limit)
    try:
        yield engine
    finally:
        engine.close()


def _serve(connection: "Connection[bytes, bytes]") -> None:
    """Apply functions until the connection or the parent process ends."""
    Thread(target=_end_with_parent, daemon=True).start()
    with suppress(EOFError, BrokenPipeError, KeyboardInterrupt):
        while True:
            connection.send_bytes(_apply(connection.recv_bytes()))


def _apply(message: bytes) -> bytes:
    try:
        function, piece = pickle.loads(message)  # noqa: S301 - from our own process
        return pickle.dumps(_Outcome(function(piece)))
    except Exception as error:  # noqa: BLE001 - raised in the parent process
        trace = traceback.format_exc()
        try:
            return pickle.dumps(_Outcome(error=error, trace=trace))
        except Exception:  # noqa: BLE001 - what cannot be pickled
            return pickle.dumps(_Outcome(error=RuntimeError(repr(error)), trace=trace))


def _end_with_parent() -> None:
    """End this process when its parent is killed: nobody waits for the piece."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _explain_end(code: int) -> str:
    reason = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return f"engine: a worker was killed ({reason}); if memory ran out, lower engine.workers; `dvc repro` runs the stage again"
