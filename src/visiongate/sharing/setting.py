"""Making a remote the default one: tried out in a temporary clone first, written into the repository last.

Until the new remote holds all that the commit names, and has given it back, the repository's settings are as they were.
"""

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from visiongate.adapters.dvc import FOREIGN, run_dvc
from visiongate.errors import VisiongateError
from visiongate.records.files import atomic_path
from visiongate.sharing.address import OWN, Remote
from visiongate.sharing.objects import list_files
from visiongate.sharing.settings import Settings, read_settings, write_settings
from visiongate.sharing.transfer import TransferError, push_all, transfer

CONFIG, LOCAL = Path(".dvc/config"), Path(".dvc/config.local")
Tell = Callable[[str], None]


class RemoteError(VisiongateError):
    """The remote cannot be made the default one."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What a remote gave back."""

    files: int
    size: int  # bytes


def set_remote(repository: Path, remote: Remote, tell: Tell, *, replace: bool) -> Verified:
    """Make a remote the default one, push to it what the last commit names, and pull that again into a temporary clone.

    Args:
        repository: Its root.
        remote: To add; one of its name with the same address is filled and verified again.
        tell: Called with a line for each step.
        replace: Take the place of a remote of its name with another address.

    Returns:
        What was pulled and compared.

    Raises:
        RemoteError: There is one of its name with another address, nothing is committed, or what came back differs.
        TransferError: Pushing or pulling failed.
    """
    before = read_settings(repository)
    known = before.get(f"remote.{remote.name}.url", remote.url)
    if known != remote.url and not replace:
        raise RemoteError(f"the remote {remote.name} is {known}; FORCE=1 puts {remote.url} in its place")
    with tempfile.TemporaryDirectory(prefix="visiongate-remote-") as temporary:
        clone = _clone(repository, Path(temporary, "clone"))
        _configure(clone, remote)
        texts = {
            path: (clone / path).read_text("utf-8") for path in (CONFIG, LOCAL) if (clone / path).exists()
        }
        settings = read_settings(clone)
        tell(f"Pushing what the last commit names to {remote.url}")
        _push(clone, {**settings, "cache.dir": before["cache.dir"]}, before)
        tell("Pulling it again into a temporary clone")
        write_settings({**settings, "cache.dir": f"{temporary}/cache"}, clone)
        transfer(["pull"], clone, {"DVC_SITE_CACHE_DIR": f"{temporary}/site"})
        verified = _compare(clone)
        for path, text in texts.items():
            _install(repository / path, text)
    return verified


def _clone(repository: Path, clone: Path) -> Path:
    """Check the last commit out beside, with the settings for DVC as they are in the work tree."""
    git = ["git", "-c", "core.hooksPath=/dev/null"]
    _call([*git, "clone", "--quiet", "--shared", "--no-checkout", str(repository), str(clone)], repository)
    try:
        _call([*git, "checkout", "--quiet", "--detach", "HEAD"], clone)
        (clone / "dvc.lock").stat()
    except (RemoteError, FileNotFoundError):
        raise RemoteError(
            "dvc.lock is not committed, so that there is nothing to share: commit a run first"
        ) from None
    for path in (CONFIG, LOCAL):
        if (repository / path).exists():
            (clone / path).write_bytes((repository / path).read_bytes())
    return clone


def _configure(clone: Path, remote: Remote) -> None:
    """Have DVC write the remote into the settings of the clone: a bucket into the team's, a folder into this machine's own."""
    level = "--local" if remote.own else "--project"
    old = (clone / CONFIG).read_text("utf-8")
    run_dvc(["remote", "add", "--quiet", level, "--force", "--default", remote.name, remote.url], clone)
    for option, value in remote.options.items():
        run_dvc(["remote", "modify", "--quiet", level, remote.name, option, value], clone)
    if remote.own:
        return
    (clone / CONFIG).write_text(keep_comments(old, (clone / CONFIG).read_text("utf-8")), "utf-8")
    own = run_dvc(["config", "--list", "--local"], clone) if (clone / LOCAL).exists() else ""
    if "core.remote=" in own:  # it would come before the team's
        run_dvc(["config", "--quiet", "--local", "--unset", "core.remote"], clone)


def keep_comments(old: str, new: str) -> str:
    """Put the comments of a settings file back, which DVC leaves out where it writes: each above the line it was above."""
    comments: dict[str, list[str]] = {}
    above: list[str] = []
    for line in old.splitlines(keepends=True):
        if line.lstrip().startswith("#"):
            above.append(line)
        elif above:
            comments[line.strip()], above = above, []
    lines = new.splitlines(keepends=True)
    return "".join(part for line in lines for part in [*comments.pop(line.strip(), []), line])


def _push(clone: Path, settings: Settings, before: Settings) -> None:
    """Push from the user's cache; what that lacks is fetched from the remote that was the default until now."""
    write_settings(settings, clone)
    try:
        push_all(clone, settings)
    except TransferError as error:
        former = before.get("core.remote")
        if not error.lost.missing or former is None or former == settings["core.remote"]:
            raise
        write_settings({**settings, f"remote.{former}.url": before[f"remote.{former}.url"]}, clone)
        transfer(["fetch", "--remote", former], clone)
        push_all(clone, settings)


def _compare(clone: Path) -> Verified:
    """Hash what was pulled, ourselves."""
    files = list_files(clone)
    for path, oid in files.items():
        if hashlib.md5((clone / path).read_bytes(), usedforsecurity=False).hexdigest() != oid:
            raise RemoteError(
                f"{path} came back from the remote with other bytes: `make push` cannot be relied upon there"
            )
    return Verified(len(files), sum((clone / path).stat().st_size for path in files))


def _install(path: Path, text: str) -> None:
    """Replace a settings file whole; who may read it stays as it was, for it may hold credentials."""
    mode = path.stat().st_mode if path.exists() else 0o600 if path.name == LOCAL.name else 0o644
    if path.exists() and path.read_text("utf-8") == text:
        return
    with atomic_path(path) as temporary:
        temporary.write_text(text, "utf-8")
    path.chmod(mode)


def _call(command: list[str], directory: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key not in FOREIGN}
    result = subprocess.run(  # noqa: S603 - git, with our own paths
        command, cwd=directory, env=environment, capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        raise RemoteError(f"`{' '.join(command[3:5])}` failed: {' '.join(result.stderr.split())}")


def describe(remote: Remote, verified: Verified) -> str:
    """Say what came about, and what makes it the team's."""
    held = f"{remote.name}: {verified.files} files, {verified.size / 1e6:.1f} MB, pushed and pulled again; "
    if remote.name == OWN:
        return (
            held
            + f"the default remote of this machine is {remote.url}, written into {LOCAL}, which git does not see"
        )
    return held + f"the default remote is {remote.url}; `git commit {CONFIG}` makes it the team's"
