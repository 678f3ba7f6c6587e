"""Set, fill and read the default DVC remote, through DVC's own commands."""

import tempfile
from contextlib import suppress
from pathlib import Path

from visiongate.adapters.dvc import DvcError, run_dvc
from visiongate.adapters.git import Repository
from visiongate.errors import VisiongateError
from visiongate.records.dvc_lock import read_lock
from visiongate.records.files import atomic_path, write_json, write_text
from visiongate.sharing.address import Remote

CONFIG, LOCAL_CONFIG = Path(".dvc/config"), Path(".dvc/config.local")
# The remote in the repository, whose content git shares.
STORE = "store"
# A temporary file that lists objects for one push. DVC ignores files in `.dvc`.
GIT_OUTPUTS = "visiongate-push.dvc"


class RemoteError(VisiongateError):
    """A remote cannot be set, filled or read."""


def set_remote(repository: Path, remote: Remote, *, replace: bool = False) -> None:
    """Push the outputs of the last commit to a remote, pull them into a clone, then make the remote the default.

    The settings of the repository change last: if a step fails, the default remote stays as it was.

    Args:
        repository: The root of the repository.
        remote: The remote. A remote that has its name and address already is filled and verified again.
        replace: Replace a remote of the same name with another address.

    Raises:
        RemoteError: A remote of this name has another address, or no run is committed.
        DvcError: A push or a pull failed.
    """
    current = _read_config(repository).get(f"remote.{remote.name}.url", remote.url)
    if current != remote.url and not replace:
        raise RemoteError(
            f"the remote {remote.name} is {current}; use --force to replace it with {remote.url}"
        )
    with tempfile.TemporaryDirectory(prefix="visiongate-remote-") as temporary:
        clone = _clone_last_commit(repository, Path(temporary, "clone"))
        _configure(clone, remote)
        configs = {path: _read_text(clone / path) for path in (CONFIG, LOCAL_CONFIG)}
        _verify(repository, clone, Path(temporary))
        for path, text in configs.items():
            _install(repository / path, text)


def push(repository: Path) -> bool:
    """Push the outputs in ``dvc.lock`` and the run cache to the default remote.

    Returns:
        False if the default remote is the store in the repository, which git shares.

    Raises:
        RemoteError: There is no default remote.
        DvcError: The push failed.
    """
    name = _read_config(repository).get("core.remote")
    if name is None:
        raise RemoteError("there is no default remote; set one with `visiongate remote set s3://bucket/path`")
    if name == STORE:
        return False
    run_dvc(["push", "--run-cache"], repository)
    _push_git_outputs(repository)
    return True


def pull(repository: Path) -> None:
    """Pull the outputs in ``dvc.lock`` and the run cache from the default remote.

    Raises:
        DvcError: The pull failed. Complete objects stay in the cache, so that the next pull resumes.
    """
    run_dvc(["pull", "--run-cache"], repository)


def describe_remote(remote: Remote) -> str:
    """Describe the settings that were written, and their file."""
    verified = f"{remote.url} is the default remote: the last commit was pushed to it and pulled back."
    if remote.is_local:
        return f"{verified} {LOCAL_CONFIG}, which git ignores, names it for this machine."
    return f"{verified} Commit {CONFIG} to share it: git commit {CONFIG}"


def _clone_last_commit(repository: Path, clone: Path) -> Path:
    """Clone the last commit, with DVC's settings as they are in the work tree."""
    Repository(repository).run("clone", "--quiet", "--shared", str(repository), str(clone))
    if not (clone / "dvc.lock").exists():
        raise RemoteError("dvc.lock is not committed; commit a run first")
    for path in (CONFIG, LOCAL_CONFIG):
        if (repository / path).exists():
            (clone / path).write_bytes((repository / path).read_bytes())
    return clone


def _configure(clone: Path, remote: Remote) -> None:
    """Add the remote to the settings: to the team's for an address, to this machine's for a folder."""
    level, before = "--local" if remote.is_local else "--project", _read_text(clone / CONFIG)
    run_dvc(["remote", "add", "--quiet", level, "--force", "--default", remote.name, remote.url], clone)
    for option, value in remote.options.items():
        run_dvc(["remote", "modify", "--quiet", level, remote.name, option, value], clone)
    if remote.is_local:
        return
    write_text(clone / CONFIG, restore_comments(before, _read_text(clone / CONFIG)))
    # A default of this machine would take precedence over the team's.
    if (clone / LOCAL_CONFIG).exists() and "core.remote" in _read_config(clone, "--local"):
        run_dvc(["config", "--quiet", "--local", "--unset", "core.remote"], clone)


def _verify(repository: Path, clone: Path, temporary: Path) -> None:
    """Push from the repository's cache, and pull into an empty one. DVC hashes the files that it pulls."""
    former = _read_config(repository).get("core.remote")
    _use_cache(clone, run_dvc(["cache", "dir"], repository).strip())
    if former is not None:
        # An object that is missing here makes the push fail, with a message of its own.
        with suppress(DvcError):
            run_dvc(["fetch", "--remote", former], clone)
    run_dvc(["push", "--run-cache"], clone)
    _push_git_outputs(clone)
    _use_cache(clone, f"{temporary}/cache")
    run_dvc(["pull"], clone, {"DVC_SITE_CACHE_DIR": f"{temporary}/site"})


def _use_cache(clone: Path, cache: str) -> None:
    run_dvc(["config", "--quiet", "--local", "cache.dir", cache], clone)


def _push_git_outputs(repository: Path) -> None:
    """Push the outputs that git tracks, such as metrics.

    ``dvc push`` omits them, but DVC restores a run from the run cache only with all of its outputs.
    """
    cache = Path(run_dvc(["cache", "dir"], repository).strip())
    files = {
        md5 for md5 in read_lock(repository / "dvc.lock").outs.values() if md5 and not md5.endswith(".dir")
    }
    objects = [md5 for md5 in sorted(files) if (cache / object_path(md5)).exists()]
    if not objects:
        return
    listing = repository / GIT_OUTPUTS
    try:
        write_json(listing, {"outs": [{"md5": md5, "hash": "md5", "path": md5} for md5 in objects]})
        run_dvc(["push", listing.name], repository)
    finally:
        listing.unlink(missing_ok=True)


def object_path(md5: str) -> Path:
    """Return the path of an object in a cache or a remote."""
    return Path("files/md5", md5[:2], md5[2:])


def _read_config(directory: Path, level: str | None = None) -> dict[str, str]:
    """Return DVC's settings by dotted name, such as ``remote.shared.url``."""
    lines = run_dvc(["config", "--list", *([level] if level else [])], directory).splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def _read_text(path: Path) -> str:
    return path.read_text("utf-8") if path.exists() else ""


def _install(path: Path, text: str) -> None:
    """Replace a settings file, and keep its mode: it may contain credentials."""
    if _read_text(path) == text:
        return
    mode = path.stat().st_mode if path.exists() else 0o600 if path.name == LOCAL_CONFIG.name else 0o644
    with atomic_path(path) as temporary:
        temporary.write_text(text, "utf-8")
    path.chmod(mode)


def restore_comments(before: str, after: str) -> str:
    """Return a settings file with the comments that DVC dropped, each above the line that it was above."""
    comments: dict[str, list[str]] = {}
    block: list[str] = []
    for line in before.splitlines(keepends=True):
        if line.lstrip().startswith("#"):
            block.append(line)
        elif block:
            comments[line.strip()], block = block, []
    lines = after.splitlines(keepends=True)
    return "".join(part for line in lines for part in [*comments.pop(line.strip(), []), line])
