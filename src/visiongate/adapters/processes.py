"""Other programs, called as processes."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from visiongate.errors import VisiongateError

# Variables that would lead a program in a clone back to the repository, store or environment of this process.
FOREIGN = ("DVC_", "GIT_", "MLFLOW_", "VIRTUAL_ENV", "PYTHONPATH")
MAX_LINES = 5


class ProcessError(VisiongateError):
    """A program failed."""


def program_path(folder: Path | None = None) -> str:
    """Return a ``PATH`` on which the programs of a folder come first; by default those of this environment, such as ``dvc``."""
    return os.pathsep.join([str(folder or Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


def isolated_environment() -> dict[str, str]:
    """Return the variables of this process without those that would lead a program in a clone back here."""
    return {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}


def run_process(command: Sequence[str], directory: Path, environment: Mapping[str, str]) -> str:
    """Run a program and return its standard output.

    Raises:
        ProcessError: The program failed; the message has the last lines of its output.
    """
    result = subprocess.run(  # noqa: S603 - a list of arguments, no shell
        command, cwd=directory, env=dict(environment), capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        lines = (result.stderr.strip() or result.stdout.strip()).splitlines()
        raise ProcessError(f"`{' '.join(command)}` failed: {' / '.join(lines[-MAX_LINES:])}")
    return result.stdout
