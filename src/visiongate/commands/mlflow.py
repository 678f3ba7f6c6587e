"""``visiongate mlflow``: open the tracking UI."""

import os
import sys
from typing import NoReturn

from visiongate.adapters.mlflow.store import open_store
from visiongate.settings.loading import load_settings

# Jobs are for language models; their ten processes would outlive a server that is killed.
ENVIRONMENT = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


def run(port: int) -> int:
    """Serve the UI for the store of the settings, or print the server's address if the store is one.

    Ctrl-C and SIGTERM stop MLflow, which passes them to its only other process, uvicorn.

    Raises:
        TrackingError: The store cannot be opened.
    """
    store = open_store(load_settings().tracking)
    address, page = store.address, f"#/experiments/{store.experiment_id}/runs"
    if address.startswith("http"):
        print(f"MLflow runs at {address.rstrip('/')}/{page}")
    else:
        print(f"MLflow on {address}: http://127.0.0.1:{port}/{page}", flush=True)
        os.environ.update(ENVIRONMENT)
        arguments = ["--backend-store-uri", address, "--artifacts-destination", "mlruns/artifacts"]
        _become(["server", *arguments, "--port", str(port), "--workers", "1"])
    return 0


def _become(arguments: list[str]) -> NoReturn:
    """Replace this process by MLflow, so that a signal reaches it."""
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", *arguments])  # noqa: S606
