"""``visiongate mlflow``: open the tracking UI."""

import os
import sys
from typing import NoReturn

from visiongate.adapters.mlflow.store import open_store
from visiongate.settings.loading import load_settings


def run(port: int) -> int:
    """Serve the UI for the store of the settings, or print the server's address if the store is one.

    Raises:
        TrackingError: The store cannot be opened.
    """
    address = open_store(load_settings().tracking).address
    if address.startswith("http"):
        print(f"MLflow runs at {address}")
    else:
        print(f"MLflow on {address}: http://127.0.0.1:{port}", flush=True)
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
        arguments = ["--backend-store-uri", address, "--artifacts-destination", "mlruns/artifacts"]
        _become(["server", *arguments, "--port", str(port), "--workers", "1"])
    return 0


def _become(arguments: list[str]) -> NoReturn:
    """Replace this process by MLflow, so that a signal reaches it."""
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", *arguments])  # noqa: S606
