"""DVC beside DVC: a worker in the background holds a lock, or clears a folder away, that another command wanted."""

import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from visiongate.adapters.dvc import DvcError, run_dvc

TRIES = 20  # a second apart
PASSING = re.compile(
    r"\block|/tmp/exps/|Empty git repo", re.IGNORECASE
)  # what is over in a second: a lock; a copy that is cleared away, or not yet whole


def insist_dvc(
    arguments: Sequence[str], directory: Path, environment: Mapping[str, str] | None = None
) -> str:
    """Run DVC as `run_dvc` does, and again while it is in another's way.

    Raises:
        DvcError: It failed for another reason, or too often.
    """
    for _ in range(TRIES):
        try:
            return run_dvc(arguments, directory, environment)
        except DvcError as error:
            if not PASSING.search(error.output):
                raise
            time.sleep(1)
    return run_dvc(arguments, directory, environment)
