"""The commit that is checked out, and whether tracked files differ from it."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Commit:
    """The commit checked out, and whether tracked files differ from it."""

    sha: str  # or "unknown"
    dirty: bool | None  # None where there is no git

    def tags(self) -> dict[str, str]:
        """Return MLflow tags."""
        return {
            "mlflow.source.git.commit": self.sha,
            "visiongate.git_dirty": UNKNOWN if self.dirty is None else str(self.dirty).lower(),
        }


def read_commit(directory: Path, ignored: Sequence[Path]) -> Commit:
    """Ask git for the commit and whether anything tracked has changed since.

    Args:
        directory: Anywhere in the repository.
        ignored: Files and folders whose changes do not count, for the line itself writes them.
    """
    command = [
        "git",
        "--no-optional-locks",
        "status",
        "--porcelain=v2",
        "--branch",
        "--untracked-files=no",
        "--",
        ".",
    ]
    try:
        answer = subprocess.run(  # noqa: S603 - fixed words and our own paths
            [*command, *(f":(exclude){path}" for path in ignored)],
            cwd=directory,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:  # git is not installed
        return Commit(UNKNOWN, None)
    if answer.returncode != 0:
        return Commit(UNKNOWN, None)
    lines = answer.stdout.splitlines()
    sha = next(line.split()[2] for line in lines if line.startswith("# branch.oid"))
    changed = any(not line.startswith("#") for line in lines)
    return Commit(UNKNOWN if sha == "(initial)" else sha, changed)
