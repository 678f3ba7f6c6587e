"""DVC commands while a queue worker uses the repository, too."""

import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from visiongate.adapters.dvc import DvcError, run_dvc

MAX_ATTEMPTS = 20
DELAY_SECONDS = 1.0
# Another command holds a lock, or a worker is creating or deleting its copy of the repository.
TRANSIENT = re.compile(r"\block|/tmp/exps/|Empty git repo", re.IGNORECASE)


def run_dvc_with_retries(
    arguments: Sequence[str], directory: Path, environment: Mapping[str, str] | None = None
) -> str:
    """Run DVC as `run_dvc` does, and retry while another DVC command is in the way.

    Raises:
        DvcError: DVC failed for another reason, or too often.
    """
    for _ in range(MAX_ATTEMPTS - 1):
        try:
            return run_dvc(arguments, directory, environment)
        except DvcError as error:
            if not TRANSIENT.search(error.output):
                raise
            time.sleep(DELAY_SECONDS)
    return run_dvc(arguments, directory, environment)
