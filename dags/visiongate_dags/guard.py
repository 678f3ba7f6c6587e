"""Run a command that ends when its caller ends: ``python guard.py PARENT COMMAND...``.

A killed task cannot end what it started. This process stands between the two: it ends the command, and all that the command
started, when it is told to or when the process PARENT is gone. A script of the standard library, so that it starts at once.

It exits with the status of the command, or with 128 plus the number of the signal that ended it.
"""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from types import FrameType

POLL_SECONDS = 0.2
# For DVC and the stage to remove their locks and temporary files.
GRACE_SECONDS = 10.0
SIGNALED = 128
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class _Ended(BaseException):
    """This process was told to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def main(arguments: list[str]) -> int:
    """Run the command and return the exit status."""
    parent, command = int(arguments[0]), arguments[1:]
    # Before the command starts, so that no signal is missed.
    for number in SIGNALS:
        signal.signal(number, _end)
    process = None
    try:
        process = subprocess.Popen(command, start_new_session=True)  # noqa: S603 - what the caller names
        status = _wait(process, parent)
    except _Ended as ended:
        status = -ended.number
    finally:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        if process is not None:
            _end_group(process)
    return status if status >= 0 else SIGNALED - status


def _wait(process: subprocess.Popen[bytes], parent: int) -> int:
    while os.getppid() == parent:
        with suppress(subprocess.TimeoutExpired):
            return process.wait(POLL_SECONDS)
    return -signal.SIGTERM


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End the command and what it started; what outlives the command is killed."""
    if process.poll() is None:
        _signal_group(process, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_SECONDS)
    _signal_group(process, signal.SIGKILL)
    process.wait()


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    # It leads its own session, so the group has its number.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _end(number: int, _frame: FrameType | None) -> None:
    raise _Ended(number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
