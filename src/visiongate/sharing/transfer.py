"""Pushing and pulling as a team needs it: whole, with the runs, and with one line when it fails."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

from visiongate.adapters.dvc import DvcError, run_dvc
from visiongate.adapters.dvc_faults import find_symptom
from visiongate.errors import VisiongateError
from visiongate.records.files import write_text
from visiongate.sharing.objects import Lost, cached_files, find_lost, name_objects, object_path
from visiongate.sharing.settings import Settings, read_settings, write_settings

STORE = "store"  # the remote in the repository itself
SHOWN = 3  # files that a message names
NOTHING = Lost(frozenset(), frozenset())


class TransferError(VisiongateError):
    """Something could not be pushed or pulled. The message is one line.

    Attributes:
        lost: The objects that could not be had.
    """

    def __init__(self, message: str, lost: Lost) -> None:
        super().__init__(message)
        self.lost = lost


def push(repository: Path) -> bool:
    """Push what the workspace's lock names to the default remote, and the runs that made it.

    Returns:
        Whether there is anything to push to: what lies in the repository itself, git shares.

    Raises:
        TransferError: There is no remote to push to, or it failed.
    """
    settings = read_settings(repository)
    name = settings.get("core.remote")
    if name is None:
        raise TransferError("no default remote: `make remote URL=s3://bucket/path` sets one", NOTHING)
    if name == STORE:
        return False
    push_all(repository, settings)
    return True


def push_all(directory: Path, settings: Settings) -> None:
    """Push what a workspace's lock names, object by object, and the runs.

    ``dvc push`` alone leaves two things out. It takes a folder's files for pushed where the folder's list is in the remote, so
    that a file lost there would stay lost. And it does not push the outputs that git keeps (metrics, small reports), without
    which a colleague's DVC restores no run of their stage, but runs it again.

    Args:
        directory: The workspace.
        settings: Those that take effect in it.

    Raises:
        TransferError: It failed.
    """
    transfer(["push", "--run-cache"], directory)
    lock = directory / "dvc.lock"
    files = cached_files(lock, Path(settings["cache.dir"])) if lock.exists() else {}
    if not files:
        return
    with tempfile.TemporaryDirectory(prefix="visiongate-push-") as temporary:
        workspace = Path(temporary)
        write_settings({**settings, "core.no_scm": "true"}, workspace)
        outs = [{"md5": oid, "hash": "md5", "path": oid} for oid in files]
        write_text(workspace / "objects.dvc", json.dumps({"outs": outs}))
        transfer(["push"], workspace, {"DVC_SITE_CACHE_DIR": f"{temporary}/site"})


def pull(repository: Path) -> None:
    """Pull what the workspace's lock names from the default remote, and the runs.

    Raises:
        TransferError: It failed. What came whole stays in the cache, so that the next try goes on from there.
    """
    transfer(["pull", "--run-cache"], repository)


def transfer(arguments: list[str], directory: Path, environment: Mapping[str, str] | None = None) -> None:
    """Run a DVC command that moves objects.

    Raises:
        TransferError: It failed; the message names the files, where single objects were the reason.
    """
    try:
        run_dvc([*arguments, "--verbose"], directory, environment)
    except DvcError as error:
        lost = find_lost(error.said)
        told = find_symptom(error.said) or _tell(lost, arguments, directory) or str(error)
        raise TransferError(told, lost) from error


def _tell(lost: Lost, arguments: list[str], directory: Path) -> str | None:
    """Say which files could not be had and what to do about it; nothing where single objects are not the reason."""
    if lost.damaged:
        where = _address(min(lost.damaged), arguments, directory)
        return (
            f"{_name(lost.damaged, directory)} damaged in the remote: delete {where} there, then `make push` "
            "in a clone that has the data whole"
        )
    if lost.missing and arguments[0] == "push":
        return (
            f"{_name(lost.missing, directory)} neither in this clone's cache nor in the remote: `make repro` "
            "makes it, or `make pull` fetches it from where it is"
        )
    if lost.missing:
        return f"{_name(lost.missing, directory)} not in the remote: `make push` in a clone that has the data"
    return None


def _address(oid: str, arguments: list[str], directory: Path) -> str:
    settings = read_settings(directory)
    name = arguments[-1] if "--remote" in arguments else settings["core.remote"]
    return object_path(settings[f"remote.{name}.url"], oid)


def _name(oids: frozenset[str], directory: Path) -> str:
    names = name_objects(oids, directory)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more} {'is' if len(names) == 1 else 'are'}"
