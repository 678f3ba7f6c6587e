"""A registry seen from outside, clients that die, and processes that register at the same time."""

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


class PulledPlug(BaseException):
    """The process is gone."""


class MortalClient:
    """An MLflow client that works, until so many of its writes are done."""

    def __init__(self, client: Any, writes: int) -> None:  # noqa: ANN401
        self._client, self.left = client, writes

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        method = getattr(self._client, name)
        return self._counted(method) if name.startswith(WRITES) else method

    def _counted(self, method: Any) -> Any:  # noqa: ANN401
        def call(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401
            answer = method(*arguments, **options)
            self.left -= 1
            if self.left == 0:
                raise PulledPlug
            return answer

        return call


def mortal(store: Store, writes: int) -> Store:
    """The same store, reached by a client that dies after so many writes."""
    return replace(store, client=MortalClient(store.client, writes))  # type: ignore[arg-type]


def aliases(store: Store, settings: Settings) -> dict[str, str]:
    """Which version each alias names."""
    found = store.client.get_registered_model(settings.registry.name).aliases
    return {alias: str(number) for alias, number in found.items()}


def numbers(store: Store, settings: Settings) -> list[str]:
    """The versions there are."""
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
    """The same settings, but for some of the registry's."""
    return settings.model_copy(update={"registry": settings.registry.model_copy(update=registry)})
