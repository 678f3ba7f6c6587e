"""Has the line run with what is here? DVC compares the work tree with ``dvc.lock``."""

import json
import sys
from pathlib import Path

from visiongate.adapters.mlflow_store import TrackingError
from visiongate.adapters.side_clone import call, own_environment
from visiongate.records.dvc_lock import Status


def read_status(directory: Path) -> Status:
    """Ask DVC what changed since each stage last ran, in the line's order.

    Raises:
        TrackingError: DVC cannot tell; the message has what it said.
    """
    said = call([sys.executable, "-m", "dvc", "status", "--json"], directory, own_environment())
    try:
        status: Status = json.loads(said)
    except ValueError:
        raise TrackingError(f"`dvc status --json` printed no JSON: {said[:200]}") from None
    return status
