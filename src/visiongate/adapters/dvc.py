"""DVC, called as a process, because its Python modules are no public interface."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from visiongate.adapters.dvc_faults import explain
from visiongate.adapters.processes import isolated_environment
from visiongate.errors import VisiongateError
from visiongate.records.dvc_lock import Status

# Variables that would lead DVC back to the repository, index or stage that called us: a git hook's or a DVC stage's.
FOREIGN = ("DVC_ROOT", "DVC_STAGE", "GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE")
# s3fs tries five times; if botocore retried each try as well, an absent server would fail after minutes.
DEFAULTS = {"AWS_MAX_ATTEMPTS": "1", "DVC_NO_ANALYTICS": "1"}
# Failures after which DVC exits with 0.
SILENT_FAILURES = {
    "push": ("ERROR: failed to transfer", "WARNING: Some of the cache files do not exist"),
    "pull": ("ERROR: failed to transfer",),
}
OWN_COMMAND = (sys.executable, "-m", "dvc")
# Name of this machine's cache as a remote of a temporary clone.
CACHE_REMOTE = "users-cache"


class DvcError(VisiongateError):
    """A DVC command failed. The message is one line.

    Attributes:
        output: All that DVC printed.
    """

    def __init__(self, message: str, output: str) -> None:
        super().__init__(message)
        self.output = output


def run_dvc(
    arguments: Sequence[str],
    directory: Path,
    environment: Mapping[str, str] | None = None,
    command: Sequence[str] = OWN_COMMAND,
    *,
    isolated: bool = False,
) -> str:
    """Run ``dvc`` and return its standard output.

    Args:
        arguments: The command and its options, as on a command line.
        directory: Where to run it.
        environment: Variables to set besides those of this process.
        command: DVC of another interpreter.
        isolated: Remove the variables that refer to this work tree, for a run in a clone.

    Raises:
        DvcError: DVC failed, or it exited with 0 after a partial failure.
    """
    own = isolated_environment() if isolated else {k: v for k, v in os.environ.items() if k not in FOREIGN}
    result = subprocess.run(  # noqa: S603 - a list of arguments, no shell
        [*command, *arguments],
        cwd=directory,
        env={**DEFAULTS, **own, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    silent = any(text in result.stderr for text in SILENT_FAILURES.get(arguments[0], ()))
    if result.returncode != 0 or silent:
        output = result.stderr + result.stdout
        raise DvcError(f"dvc {arguments[0]}: {explain(output)}", output)
    return result.stdout


def read_status(directory: Path) -> Status:
    """Return what changed since each stage last ran, in the order of the pipeline.

    Raises:
        DvcError: DVC failed, or printed no JSON.
    """
    output = run_dvc(["status", "--json"], directory)
    try:
        status: Status = json.loads(output)
    except ValueError:
        raise DvcError("dvc status: the output is not JSON", output) from None
    return status


def fetch_outputs(
    project: Path,
    clone: Path,
    outputs: Sequence[Path],
    report: Callable[[str], None],
    run: Callable[..., str] = run_dvc,
) -> None:
    """Pull outputs, or files in them, into a clone: from the cache of a project, otherwise from the remote.

    The clone also gets DVC's settings of this machine, but a cache of its own. Nothing is written to the project.

    Args:
        project: The folder with ``.dvc`` whose cache is read.
        clone: The same folder of the clone.
        outputs: Relative to these.
        report: Called with a line that says where the outputs come from.
        run: Runs DVC in the clone.

    Raises:
        DvcError: Neither the cache nor the remote has them all.
    """
    local = project / ".dvc/config.local"
    if local.exists():
        shutil.copyfile(local, clone / ".dvc/config.local")
    names = [str(path) for path in outputs]
    shown = names[0] if len(names) == 1 else f"{len(names)} files"
    cache = run_dvc(["cache", "dir"], project).strip()
    # The project's settings may name its cache, which the clone must not write to.
    run(["config", "--local", "--quiet", "cache.dir", str((clone / ".dvc/cache").resolve())], clone)
    run(["remote", "add", "--local", "--force", "--quiet", CACHE_REMOTE, cache], clone)
    try:
        run(["pull", "--quiet", "--remote", CACHE_REMOTE, *names], clone)
    except DvcError:
        report(f"Pulling {shown} from the remote")
        run(["pull", "--quiet", *names], clone)
    else:
        report(f"Using {shown} from the DVC cache of this machine")
