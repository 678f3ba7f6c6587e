"""The guard ends what a task has started, however the task ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from visiongate_dags import guard
from waiting import wait_until

GUARD = Path(guard.__file__)
# Starts a process of its own, writes both numbers and waits; it ignores SIGTERM if asked to.
STUBBORN = """\
import os, signal, subprocess, sys, time
if "stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
with open(sys.argv[1] + ".part", "w") as file:
    file.write(f"{os.getpid()} {child.pid}")
os.rename(sys.argv[1] + ".part", sys.argv[1])
time.sleep(60)
"""


def is_running(number: int) -> bool:
    try:
        # A process that ended, but is not collected by its parent yet, still has its number.
        return "\nState:\tZ" not in Path(f"/proc/{number}/status").read_text()
    except FileNotFoundError:
        return False


def guarded(parent: int, *command: str, grace: float = guard.GRACE_SECONDS) -> list[str]:
    code = f"import sys; sys.path.insert(0, {str(GUARD.parent)!r}); import guard; guard.GRACE_SECONDS = {grace}; "
    return [sys.executable, "-c", f"{code}sys.exit(guard.main(sys.argv[1:]))", str(parent), *command]


@pytest.mark.parametrize(
    ("code", "status"), [("sys.exit(0)", 0), ("sys.exit(255)", 255), ("os.kill(os.getpid(), 9)", 137)]
)
def test_the_status_is_that_of_the_command(code: str, status: int) -> None:
    command = [sys.executable, str(GUARD), str(os.getpid()), sys.executable, "-c", f"import os, sys; {code}"]
    assert subprocess.run(command, check=False).returncode == status


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.parametrize("mode", ["", "stubborn"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all_that_the_command_started(tmp_path: Path, number: int, mode: str) -> None:
    started = tmp_path / "started"
    command = [sys.executable, "-c", STUBBORN, str(started), mode]
    with subprocess.Popen(guarded(os.getpid(), *command, grace=0.2)) as process:
        wait_until(started.exists)
        process.send_signal(number)
        assert process.wait(20) == 128 + number
    wait_until(lambda: not any(map(is_running, map(int, started.read_text().split()))))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_the_command_ends_with_a_caller_that_is_killed(tmp_path: Path) -> None:
    started = tmp_path / "started"
    caller = "import os, subprocess, sys; subprocess.run([*sys.argv[1:3], str(os.getpid()), *sys.argv[3:]])"
    command = [sys.executable, str(GUARD), sys.executable, "-c", STUBBORN, str(started)]
    with subprocess.Popen([sys.executable, "-c", caller, *command]) as process:
        wait_until(started.exists)
        process.kill()
    wait_until(lambda: not any(map(is_running, map(int, started.read_text().split()))))
