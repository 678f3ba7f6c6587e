"""``visiongate remote``: share data and runs through a DVC remote."""

from pathlib import Path

from visiongate.sharing import transfer
from visiongate.sharing.address import Remote, own_remote, team_remote
from visiongate.sharing.setting import describe, set_remote

IN_GIT = """\
Nothing to push: the default remote is .dvc/store, which git shares. `make store` fills it; `visiongate remote set s3://bucket/path`
sets a remote for larger data."""


def set_team_remote(url: str, endpoint: str, *, force: bool) -> int:
    """Make a bucket or server the default remote."""
    return _set(team_remote(url, endpoint), force=force)


def set_local_remote(folder: str, *, force: bool) -> int:
    """Make a folder the default remote of this machine."""
    return _set(own_remote(folder, Path.cwd()), force=force)


def _set(remote: Remote, *, force: bool) -> int:
    verified = set_remote(Path.cwd(), remote, lambda line: print(line, flush=True), replace=force)
    print(describe(remote, verified))
    return 0


def push() -> int:
    """Push the outputs in dvc.lock, and the run cache."""
    pushed = transfer.push(Path.cwd())
    print("The default remote has the outputs in dvc.lock and the run cache" if pushed else IN_GIT)
    return 0


def pull() -> int:
    """Pull the outputs in dvc.lock, and the run cache."""
    transfer.pull(Path.cwd())
    print("The outputs in dvc.lock and the run cache are here")
    return 0
