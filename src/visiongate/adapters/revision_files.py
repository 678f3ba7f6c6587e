"""Files as another git revision has them."""

import subprocess
from pathlib import Path

from visiongate.errors import VisiongateError


class RevisionError(VisiongateError):
    """There is no such revision, or no git."""


def read_at(revision: str, path: Path, directory: Path) -> str | None:
    """Return a file's text at a revision; None where the revision does not have it.

    Args:
        revision: A branch, tag or commit.
        path: From the directory.
        directory: In the repository.

    Raises:
        RevisionError: There is no such revision, or this is no git repository.
    """
    return _git(["show", f"{find_commit(revision, directory)}:./{path.as_posix()}"], directory)


def find_commit(revision: str, directory: Path) -> str:
    """Return the hash of the commit that a revision means.

    Args:
        revision: A branch, tag or commit.
        directory: In the repository.

    Raises:
        RevisionError: There is no such revision, or this is no git repository.
    """
    commit = _git(
        ["rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"], directory
    )
    if commit is None:
        raise RevisionError(
            f"{revision}: no such git revision here; fetch it first, as with `git fetch origin {revision}:{revision}`"
        )
    return commit.strip()


def _git(arguments: list[str], directory: Path) -> str | None:
    """Return what git prints; None where it refuses."""
    try:
        answer = subprocess.run(  # noqa: S603 - git with a revision that cannot be taken for an option
            ["git", *arguments],  # noqa: S607 - git is found by PATH, as by whoever works here
            cwd=directory,
            capture_output=True,
            encoding="utf-8",
            errors="replace",  # what is no text is refused by whoever parses it
            check=False,
        )
    except FileNotFoundError:
        raise RevisionError("git is not installed: a base to compare with is read from it") from None
    return answer.stdout if answer.returncode == 0 else None
