"""A commit checked out beside the work tree, with a DVC cache of its own: nothing that the user has is written to."""

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from visiongate.adapters.mlflow_store import TrackingError

USERS_CACHE = "users-cache"  # the name that the cache of this machine goes by in the clone, which reads it like a remote
KEPT_LINES = 5  # of what a command said before it failed
FOREIGN = (
    "DVC_",
    "GIT_",
    "MLFLOW_",
    "VIRTUAL_ENV",
    "PYTHONPATH",
)  # variables that point to where we come from

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Dvc:
    """How DVC is called: whose, and with which variables."""

    command: Sequence[str]
    environment: Mapping[str, str]


def find_repository(directory: Path) -> Path:
    """Return the root of the git repository that a directory lies in.

    Raises:
        TrackingError: It lies in none.
    """
    return Path(call(["git", "rev-parse", "--show-toplevel"], directory, own_environment()).strip())


def check_out(repository: Path, clone: Path, commit: str) -> None:
    """Check a commit out beside.

    Raises:
        TrackingError: The repository has no such commit.
    """
    known = ["git", "-C", str(repository), "cat-file", "-e", f"{commit}^{{commit}}"]
    try:
        call(known, repository, own_environment())
    except TrackingError:
        raise TrackingError(
            f"commit {commit} is not in this repository: `git fetch` may bring it, if it was ever pushed"
        ) from None
    call(
        ["git", "clone", "--quiet", "--shared", "--no-checkout", str(repository), str(clone)],
        repository,
        own_environment(),
    )
    call(["git", "-C", str(clone), "checkout", "--quiet", "--detach", commit], clone, own_environment())


def fetch_outputs(project: Path, clone: Path, outputs: Sequence[Path], dvc: Dvc, tell: Tell) -> None:
    """Bring in outputs, or files in them, in one go: from the user's cache, else from the remote.

    What the user configured for DVC on this machine alone holds in the clone too.

    Args:
        project: The folder with ``.dvc`` whose cache is asked.
        clone: The same folder of the clone.
        outputs: From these.
        dvc: To call.
        tell: Called with a line that says where they come from.

    Raises:
        TrackingError: Neither has them all.
    """
    local = project / ".dvc/config.local"
    if local.exists():
        shutil.copyfile(local, clone / ".dvc/config.local")
    wanted = [str(path) for path in outputs]
    named = wanted[0] if len(wanted) == 1 else f"{len(wanted)} files"
    cache = call([*dvc.command, "cache", "dir"], project, dvc.environment).strip()
    added = [*dvc.command, "remote", "add", "--local", "--force", "--quiet", USERS_CACHE, cache]
    call(added, clone, dvc.environment)
    try:
        call([*dvc.command, "pull", "--quiet", "--remote", USERS_CACHE, *wanted], clone, dvc.environment)
    except TrackingError:
        tell(f"Pulling {named} from the remote")
        call([*dvc.command, "pull", "--quiet", *wanted], clone, dvc.environment)
    else:
        tell(f"{named} {'comes' if len(wanted) == 1 else 'come'} from the DVC cache of this machine")


def own_environment() -> dict[str, str]:
    """Return the variables of this process, but for those that would lead a command back to where we come from."""
    return {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}


def call(command: Sequence[str], directory: Path, environment: Mapping[str, str]) -> str:
    """Run a command and return what it printed.

    Raises:
        TrackingError: It failed; the message has what it said.
    """
    answer = subprocess.run(  # noqa: S603 - fixed words, our own paths, and a commit that git checks
        command, cwd=directory, env=dict(environment), capture_output=True, text=True, check=False
    )
    if answer.returncode != 0:
        said = " / ".join((answer.stderr.strip() or answer.stdout.strip()).splitlines()[-KEPT_LINES:])
        raise TrackingError(f"`{' '.join(command)}` failed: {said}")
    return answer.stdout
