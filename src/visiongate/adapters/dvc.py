"""DVC, as a process: what it prints, or one line that says why it failed.

DVC's Python modules are no public interface, and one of its commands in our process would keep its locks and settings; so it is
called as a person calls it.
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from visiongate.adapters.dvc_faults import explain
from visiongate.errors import VisiongateError

# These lead a command back to the repository, index or stage from which we were called, a git hook's or a DVC stage's.
FOREIGN = ("DVC_ROOT", "DVC_STAGE", "GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE")
# The S3 client tries five times by itself: were botocore to repeat each try too, a dead server would be told after minutes.
DEFAULTS = {"AWS_MAX_ATTEMPTS": "1", "DVC_NO_ANALYTICS": "1"}
# Failures that DVC tells and then exits with 0: runs that could not be copied, and objects that are nowhere.
UNTOLD = {
    "push": ("ERROR: failed to transfer", "WARNING: Some of the cache files do not exist"),
    "pull": ("ERROR: failed to transfer",),
}


class DvcError(VisiongateError):
    """A DVC command failed. The message is one line.

    Attributes:
        said: All that DVC said.
    """

    def __init__(self, message: str, said: str) -> None:
        super().__init__(message)
        self.said = said


def run_dvc(arguments: Sequence[str], directory: Path, environment: Mapping[str, str] | None = None) -> str:
    """Run ``dvc`` with these arguments and return what it prints on standard output.

    Args:
        arguments: The command and its options, as on a command line.
        directory: Where to run it.
        environment: Variables to set besides those of this process.

    Raises:
        DvcError: It failed, or it left something behind untold.
    """
    known = {key: value for key, value in os.environ.items() if key not in FOREIGN}
    result = subprocess.run(  # noqa: S603 - a list of arguments, no shell
        [sys.executable, "-m", "dvc", *arguments],
        cwd=directory,
        env={**DEFAULTS, **known, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    untold = any(words in result.stderr for words in UNTOLD.get(arguments[0], ()))
    if result.returncode != 0 or untold:
        said = result.stderr + result.stdout
        raise DvcError(f"dvc {arguments[0]}: {explain(said)}", said)
    return result.stdout
