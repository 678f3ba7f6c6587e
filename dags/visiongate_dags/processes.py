"""Programs of the project, called as processes in a clone."""

import logging
import os
import re
import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from visiongate_dags.errors import RunError, TemporaryError

GUARD = Path(__file__).with_name("guard.py")
# What is Airflow's own, or would lead a program in a clone to another repository, store or environment.
FOREIGN = ("AIRFLOW", "DVC_", "GIT_", "PYTHON", "VIRTUAL_ENV", "_AIRFLOW")
# s3fs tries five times; if botocore tried each of them again, an absent server would fail after minutes.
DEFAULTS = {"AWS_MAX_ATTEMPTS": "1", "DVC_NO_ANALYTICS": "1", "PYTHONUNBUFFERED": "1"}
MAX_LINES = 400
SIGNALED = 128
MAX_SIGNAL = 64
# A stage that was killed, in DVC's message: by the number of the signal, or by a shell's status.
KILLED = re.compile(r"exited with (?:-\d+|1(?:29|[3-8]\d|9[0-2]))\b")
LOST_NETWORK = re.compile(
    r"Could not connect|Connect timeout"
    r"|cannot be reached|is unreachable|does not answer|name resolution|Name or service not known|timed out"
    r"|Connection (?:refused|reset|aborted|broken|was closed)|Network is unreachable|No route to host|Server disconnected"
    r"|Max retries exceeded|SlowDown|ServiceUnavailable|HTTP (?:error )?50\d",
    re.IGNORECASE,
)
BUSY = re.compile(r"Unable to acquire lock|is busy, it is being blocked|Unable to lock", re.IGNORECASE)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended.

    Attributes:
        status: Its exit status; negative, or between 129 and 192, if a signal ended it.
        lines: The last lines of its output.
    """

    status: int
    lines: Sequence[str]

    @property
    def killed(self) -> bool:
        """Whether a signal ended it. DVC exits with 255 for every failed stage, so this is no signal."""
        return self.status < 0 or SIGNALED < self.status <= SIGNALED + MAX_SIGNAL


def own_environment(programs: Path, **variables: str) -> dict[str, str]:
    """Return the variables for a program of the project: without Airflow's, and with its programs first on the path."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    path = os.pathsep.join([str(programs), kept.get("PATH", os.defpath)])
    return {**DEFAULTS, **kept, "PATH": path, **variables}


def run(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Ended:
    """Run a program; each line of its output goes to the log of the task. It ends with this process."""
    guarded = [sys.executable, "-I", str(GUARD), str(os.getpid()), *command]
    lines: deque[str] = deque(maxlen=MAX_LINES)
    with subprocess.Popen(  # noqa: S603 - a list of arguments, no shell
        guarded,
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        for line in process.stdout or ():
            lines.append(line.rstrip())
            logger.info("%s", line.rstrip())
    return Ended(process.returncode, tuple(lines))


def read(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> str:
    """Run a short program and return its standard output.

    Raises:
        RunError: It failed; the message has its last lines.
    """
    done = subprocess.run(  # noqa: S603 - a list of arguments, no shell
        command,
        cwd=folder,
        env=dict(environment),
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise RunError(f"`{' '.join(command[:3])}` failed: {' / '.join(lines[-3:])}")
    return done.stdout


def explain(ended: Ended, what: str) -> RunError | TemporaryError:
    """Return the error for a program that failed: whether a retry can help, and the line that says why.

    Args:
        ended: How it ended.
        what: What failed, such as ``stage train``.
    """
    output = "\n".join(ended.lines)
    reason = find_reason(ended.lines)
    if ended.killed or KILLED.search(output):
        return TemporaryError(f"{what} was killed; Airflow tries again: {reason}")
    if LOST_NETWORK.search(output):
        return TemporaryError(f"{what}: the network failed; Airflow tries again: {reason}")
    if BUSY.search(output):
        return TemporaryError(f"{what}: another DVC command holds a lock; Airflow tries again: {reason}")
    return RunError(f"{what} failed: {reason}")


def find_reason(lines: Sequence[str]) -> str:
    """Return the line of an output that says why the program failed: a stage's own message, otherwise DVC's."""
    told = [
        line
        for line in lines
        if re.match(r"(?:\w+|visiongate [\w ]+): \S", line) and not line.startswith("ERROR")
    ]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    others = [line for line in lines if line.strip()]
    return (told[-1:] or errors[:1] or others[-1:] or ["no output"])[0]
