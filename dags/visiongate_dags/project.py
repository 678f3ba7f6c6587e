"""The project: the repository whose pipeline the DAGs run, and its Python."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from visiongate_dags.errors import RunError
from visiongate_dags.processes import own_environment, read

# Of Airflow, with one slot, which `make airflow-init` makes: two trainings at a time would share the cores.
POOL = "visiongate"
MIN_FREE_BYTES = 500_000_000


@dataclass(frozen=True, slots=True)
class Project:
    """The repository.

    Attributes:
        folder: Its root.
        python: The interpreter of its environment.
    """

    folder: Path
    python: Path

    def environment(self, **variables: str) -> dict[str, str]:
        """Return the variables for its programs."""
        return own_environment(self.python.parent, **variables)

    def git(self, *arguments: str) -> str:
        """Call git in the project and return its output.

        Raises:
            RunError: Git failed.
        """
        return read(["git", *arguments], self.folder, self.environment()).strip()

    def check(self, workspace: Path) -> None:
        """Check that a run can start.

        Raises:
            RunError: The project, its environment or a commit is missing, or the disk of the workspace is full.
        """
        if not (self.folder / "dvc.yaml").is_file():
            raise RunError(
                f"{self.folder}: no dvc.yaml; set the Variable visiongate_project to the folder of the repository"
            )
        if not self.python.exists():
            raise RunError(
                f"{self.python}: no such interpreter; run `make setup` in {self.folder}, or set the Variable visiongate_python"
            )
        if shutil.which("git") is None:
            raise RunError("git is not installed on this machine; install it")
        workspace.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(workspace).free
        if free < MIN_FREE_BYTES:
            raise RunError(
                f"{workspace}: the disk is full ({free / 1e6:.0f} MB are free, a run needs {MIN_FREE_BYTES / 1e6:.0f} MB); "
                "free some space, or set the Variable visiongate_workspace to a folder on another disk"
            )

    def commit(self) -> str:
        """Return the commit that is checked out.

        Raises:
            RunError: There is none.
        """
        return self.git("rev-parse", "--verify", "HEAD^{commit}")

    def changed_files(self) -> list[str]:
        """Return the tracked files that differ from the commit, which a run does not see."""
        return self.git("diff", "HEAD", "--name-only").splitlines()

    def cache(self) -> Path:
        """Return the folder of the DVC cache, which all runs share."""
        found = read([str(self.python), "-m", "dvc", "cache", "dir"], self.folder, self.environment())
        return (self.folder / found.strip()).resolve()
