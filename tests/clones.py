"""Temporary clones of the working tree, and commands run in them as a user does."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def call(
    folder: Path, *command: str, check: bool = True, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a command with this interpreter's environment first on the path, as an activated one is."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    known = {
        key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "GIT_", "MLFLOW_"))
    }
    result = subprocess.run(
        command,
        cwd=folder,
        env={**known, "PATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not check or result.returncode == 0, result.stdout + result.stderr
    return result


def make_two_commits(repository: Path) -> str:
    """Make a repository with a file ``src/code.py`` and two commits; return the first."""
    (repository / "src").mkdir(parents=True)
    (repository / "src/code.py").write_text("")
    call(repository, "git", "init", "--quiet")
    call(repository, "git", "add", ".")
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    call(repository, "git", *identity, "commit", "--quiet", "--message", "one")
    commit = call(repository, "git", "rev-parse", "HEAD").stdout.strip()
    call(repository, "git", *identity, "commit", "--quiet", "--allow-empty", "--message", "two")
    return commit


def clone_tree(target: Path) -> Path:
    """Copy what git tracks, as it is in the working tree, into a repository with one commit."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    call(target, "git", "init", "-q")
    call(target, "git", "add", "-A")
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    call(target, "git", *identity, "commit", "-qm", "The tree")
    call(target, "git", "config", "user.name", "test")
    call(target, "git", "config", "user.email", "test@example.org")
    return target


def init_dvc(folder: Path) -> None:
    """Write what `dvc init` writes, in a fiftieth of the time, and without the reports that DVC sends."""
    (folder / ".dvc/tmp").mkdir(parents=True)
    (folder / ".dvc/config").write_text("[core]\n    analytics = false\n    check_update = false\n")
    (folder / ".dvc/.gitignore").write_text("/config.local\n/tmp\n/cache\n")


def changed_stages(clone: Path) -> set[str]:
    """Return the changed stages of `dvc status`, called in this process to save a second."""
    from dvc.repo import Repo  # noqa: PLC0415 - few tests need it, and it takes a second

    with Repo(str(clone)) as repo:
        return {name.rpartition(":")[2] for name in repo.status()}
