"""Several processes on one study, each with its share of the cores; one that is killed is replaced, and its trial run again."""

import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections import Counter
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import TYPE_CHECKING

from visiongate.errors import VisiongateError
from visiongate.optimization.storage import Place, StudyError, explained
from visiongate.optimization.study import (
    Objective,
    Plan,
    fail_running,
    fail_trials,
    open_study,
    running_nameless,
    work,
)

if TYPE_CHECKING:
    from optuna import Study

MOST_DEATHS = 3  # of workers at one trial
SETTLE_SECONDS = 1.0  # in which a living worker puts its name on the trial it took


def conduct(plan: Plan, place: Place, objective: Objective, workers: int) -> "Study":
    """Run a study to its end and return it.

    Args:
        plan: The study.
        place: Its storage; a journal must be owned.
        objective: As of `work`; what several workers run must go through pickle.
        workers: Processes. A single one is this process.

    Raises:
        StudyError: The storage failed, or a trial kills whoever runs it.
        VisiongateError: What a trial raised.
    """
    with explained(place.address):
        study = open_study(plan, place)
        if place.address is None:  # in a database, others may be at it; their heartbeat tells
            fail_running(study)
        if workers == 1:
            work(plan, place, objective, _name(os.getpid()))
        else:
            _Crew(plan, place, objective, workers).run(study)
    return study


class _Crew:
    """The processes, and what became of those that died."""

    def __init__(self, plan: Plan, place: Place, objective: Objective, workers: int) -> None:
        self._task = (plan, place, objective)
        self._workers = workers
        self._deaths: Counter[int] = Counter()
        self._members: dict[SpawnProcess, Connection] = {}

    def run(self, study: "Study") -> None:
        try:
            for _ in range(self._workers):
                self._hire()
            while self._members:
                ended = connection.wait([process.sentinel for process in self._members])
                for process in [process for process in self._members if process.sentinel in ended]:
                    self._see_off(process, study)
        finally:
            for process in self._members:
                process.terminate()
            for process in self._members:
                process.join()

    def _hire(self) -> None:
        import torch  # noqa: PLC0415 - for several workers alone

        context = multiprocessing.get_context("spawn")
        inbox, outbox = context.Pipe(duplex=False)
        threads = max(1, torch.get_num_threads() // self._workers)
        process = context.Process(target=_serve, args=(*self._task, threads, outbox), daemon=True)
        process.start()
        outbox.close()
        self._members[process] = inbox

    def _see_off(self, process: SpawnProcess, study: "Study") -> None:
        process.join()
        inbox = self._members.pop(process)
        error = _receive(inbox)
        if error is not None:
            raise error
        if process.exitcode == 0:
            return
        if process.exitcode is not None and process.exitcode > 0:
            raise RuntimeError(f"a worker ended with exit status {process.exitcode}; its traceback is above")
        self._deaths.update(self._reclaim(study, _name(process.pid)))
        for trial, deaths in self._deaths.items():
            if deaths >= MOST_DEATHS:
                raise StudyError(
                    f"trial {trial} was killed {deaths} times, the last time by signal {-(process.exitcode or 0)}: "
                    "if memory runs out, lower optimize.workers, or leave the largest choices out of optimize.space"
                )
        self._hire()

    def _reclaim(self, study: "Study", worker: str) -> list[int]:
        """Fail what a dead worker was at, also if it had not put its name on it yet."""
        _, place, _ = self._task
        left = fail_running(study, worker)
        if not left and place.address is None:
            nameless = running_nameless(study)
            time.sleep(SETTLE_SECONDS)
            fail_trials(study, nameless & running_nameless(study))
        return left


def _serve(plan: Plan, place: Place, objective: Objective, threads: int, outbox: Connection) -> None:
    """Be a worker: end with the parent, be silent when interrupted, and hand over what a user can act on."""
    import torch  # noqa: PLC0415 - for several workers alone

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent has it too, and ends its workers
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that runs are closed
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    try:
        work(plan, place, objective, _name(os.getpid()))
    except VisiongateError as error:
        outbox.send(error)
    except KeyboardInterrupt:
        sys.exit(0)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _receive(inbox: Connection) -> VisiongateError | None:
    try:
        error: VisiongateError | None = inbox.recv() if inbox.poll() else None
    except EOFError:  # it ended without a word
        return None
    return error


def _name(pid: int | None) -> str:
    return f"{socket.gethostname()}:{pid}"
