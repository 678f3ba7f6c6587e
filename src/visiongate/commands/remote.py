"""``visiongate remote``: share data and runs through a DVC remote."""

from pathlib import Path

from visiongate.sharing import remotes
from visiongate.sharing.address import Remote, folder_remote, team_remote

IN_GIT = """\
Nothing to push: the default remote is .dvc/store, which git shares. `make store` fills it; `visiongate remote set s3://bucket/path`
sets a remote for larger data."""


def set_team_remote(url: str, endpoint: str, *, force: bool) -> int:
    """Make a bucket or server the default remote."""
    return _set(team_remote(url, endpoint), force=force)


def set_local_remote(folder: str, *, force: bool) -> int:
    """Make a folder the default remote of this machine."""
    return _set(folder_remote(folder, Path.cwd()), force=force)


def _set(remote: Remote, *, force: bool) -> int:
    remotes.set_remote(Path.cwd(), remote, replace=force)
    print(remotes.describe_remote(remote))
    return 0


def push() -> int:
    """Push the outputs in dvc.lock, and the run cache."""
    pushed = remotes.push(Path.cwd())
    print("The default remote has the outputs in dvc.lock and the run cache" if pushed else IN_GIT)
    return 0


def pull() -> int:
    """Pull the outputs in dvc.lock, and the run cache."""
    remotes.pull(Path.cwd())
    print("Pulled the outputs in dvc.lock and the run cache")
    return 0
