"""Helpers for tests of the registry: its aliases and versions, clients that fail, and concurrent registrations."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from visiongate.adapters.mlflow.store import Store
from visiongate.settings.schema import Settings
from workspaces import ROOT

WRITES = ("create_", "delete_", "finalize_", "log_", "set_", "update_")
REGISTER = """
import sys
sys.path.insert(0, {source!r})
from pathlib import Path
from visiongate.settings.loading import load_settings
from visiongate.registration import stage as register
register.run(load_settings(Path({params!r})))
"""


class ProcessKilledError(BaseException):
    """The process was killed."""


class FailingClient:
    """An MLflow client that fails after a number of writes."""

    def __init__(self, client: Any, writes: int) -> None:  # noqa: ANN401
        self._client, self.left = client, writes

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        method = getattr(self._client, name)
        return self._counted(method) if name.startswith(WRITES) else method

    def _counted(self, method: Any) -> Any:  # noqa: ANN401
        def call(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401
            result = method(*arguments, **options)
            self.left -= 1
            if self.left == 0:
                raise ProcessKilledError
            return result

        return call


def fail_after(store: Store, writes: int) -> Store:
    """Return the store with a client that fails after a number of writes."""
    return replace(store, client=FailingClient(store.client, writes))  # type: ignore[arg-type]


def aliases(store: Store, settings: Settings) -> dict[str, str]:
    """Return the version that each alias points to."""
    found = store.client.get_registered_model(settings.registry.name).aliases
    return {alias: str(number) for alias, number in found.items()}


def numbers(store: Store, settings: Settings) -> list[str]:
    """Return the numbers of the versions."""
    found = store.client.search_model_versions(f"name = '{settings.registry.name}'")
    return sorted((str(item.version) for item in found), key=int)


def start_registering(folder: Path, **environment: str) -> "subprocess.Popen[str]":
    """Run the stage in another process."""
    return subprocess.Popen(
        [sys.executable, "-c", REGISTER.format(source=str(ROOT / "src"), params=str(ROOT / "params.yaml"))],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def change(settings: Settings, **registry: Any) -> Settings:  # noqa: ANN401
    """Return the settings with some of the registry's replaced."""
    return settings.model_copy(update={"registry": settings.registry.model_copy(update=registry)})
