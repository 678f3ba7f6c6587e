"""Continue the work of this process in a worker on another machine."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from visiongate.cores import limit_cores

# Of environment variables: the main workspace of an experiment, and the addresses and passwords of MLflow and of the search.
PREFIXES = ("DVC_", "MLFLOW_", "VISIONGATE_")


@dataclass(frozen=True, slots=True)
class Place:
    """What a worker takes over from the driver. It is sent with the work, because a runtime environment shows its values.

    Attributes:
        cpus: That are reserved for the work.
        folder: The working folder, on the shared workspace.
        environment: Variables by name.
    """

    cpus: float
    folder: str = field(default_factory=lambda: str(Path.cwd()))
    environment: Mapping[str, str] = field(
        default_factory=lambda: {key: value for key, value in os.environ.items() if key.startswith(PREFIXES)},
        repr=False,
    )

    def enter(self) -> None:
        """Make this process a worker at the place."""
        os.environ.update(self.environment)
        os.chdir(self.folder)
        limit_cores(self.cpus)
