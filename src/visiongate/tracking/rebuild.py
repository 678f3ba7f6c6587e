"""Make a registered model again from its commit, apart from everything the user has, and see whether it is the same."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from visiongate.tracking.environment import describe_environment
from visiongate.tracking.lineage import UNKNOWN
from visiongate.tracking.store import TrackingError
from visiongate.tracking.trace import SETTINGS, Trace

LOCK = Path("requirements.lock")
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
class Plan:
    """What to make again, and by which stage."""

    stage: str
    data: Path  # what the stage reads, an output of another stage
    model: Path  # what it writes


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What came out."""

    expected: str  # md5
    found: str  # md5
    seconds: float
    differences: tuple[str, ...]  # in the environment, between then and now

    @property
    def same(self) -> bool:
        """Whether it is the same file, to the byte."""
        return self.expected == self.found


def rebuild(trace: Trace, plan: Plan, tell: Tell) -> Rebuilt:
    """Train the model of a version again in a temporary clone, and compare.

    The clone has a DVC cache and an MLflow store of its own: neither the work tree nor the caches and stores of the user are
    written to. Data come out of the user's DVC cache, else from the remote.

    Args:
        trace: Of the version.
        plan: The stage to run, what it reads, what it makes.
        tell: Called with a line for each step.

    Raises:
        TrackingError: The version has no commit, this repository has not that commit, its data are nowhere to be had, or a
            command failed; the message has what it said.
    """
    _check_known(trace)
    repository = Path(_call(["git", "rev-parse", "--show-toplevel"], Path.cwd(), _environment()).strip())
    with tempfile.TemporaryDirectory(prefix="visiongate-rebuild-") as temporary:
        clone = Path(temporary, "clone")
        tell(f"Cloning commit {trace.commit[:7]} into {clone}")
        _clone(repository, clone, trace.commit)
        binaries = _find_environment(repository, clone, tell)
        environment = {
            **_environment(),
            "PATH": os.pathsep.join([str(binaries), os.environ.get("PATH", "")]),
            "MLFLOW_TRACKING_URI": f"sqlite:///{temporary}/mlruns/mlflow.db",
        }
        dvc = [str(binaries / "python"), "-m", "dvc"]
        _fetch_data(repository, clone, plan.data, (dvc, environment), tell)
        _check_data(trace, clone, plan.data, tell)
        _restore_settings(trace, clone, tell)
        (clone / plan.model).unlink(missing_ok=True)
        tell(f"Running the stage {plan.stage}")
        started = time.monotonic()
        _call([*dvc, "repro", "--quiet", "--force", "--single-item", plan.stage], clone, environment)
        return Rebuilt(
            trace.model_md5,
            _md5_of(clone / plan.model),
            time.monotonic() - started,
            _compare_environment(trace),
        )


def clone_address(directory: Path) -> str:
    """Say where a repository can be cloned from, without the password that its address may have; itself if it has no origin."""
    for command in (["git", "remote", "get-url", "origin"], ["git", "rev-parse", "--show-toplevel"]):
        answer = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)  # noqa: S603 - fixed words
        if answer.returncode == 0:
            scheme, mark, rest = answer.stdout.strip().rpartition("://")
            return scheme + mark + (rest.rpartition("@")[2] if mark else rest)
    return "REPOSITORY"


def _check_known(trace: Trace) -> None:
    if UNKNOWN in (trace.commit, trace.model_md5):
        raise TrackingError(
            f"{trace.version.uri}: its commit or its md5 is not known, so that it cannot be made again"
        )


def _clone(repository: Path, clone: Path, commit: str) -> None:
    """Check a commit out beside, with what the user configured for DVC on this machine alone."""
    known = [*_git(repository), "cat-file", "-e", f"{commit}^{{commit}}"]
    try:
        _call(known, repository, _environment())
    except TrackingError:
        raise TrackingError(
            f"commit {commit} is not in this repository: `git fetch` may bring it, if it was ever pushed"
        ) from None
    _call(
        ["git", "clone", "--quiet", "--shared", "--no-checkout", str(repository), str(clone)],
        repository,
        _environment(),
    )
    _call([*_git(clone), "checkout", "--quiet", "--detach", commit], clone, _environment())
    local = repository / ".dvc/config.local"
    if local.exists():
        shutil.copyfile(local, clone / ".dvc/config.local")


def _find_environment(repository: Path, clone: Path, tell: Tell) -> Path:
    """Return the folder of the interpreter to use: ours, if that commit asks for the same packages."""
    if _read(repository / LOCK) == _read(clone / LOCK):
        tell(f"{LOCK} is the same at that commit: using {sys.executable}")
        return Path(sys.executable).parent
    tell(f"{LOCK} is another at that commit: making its environment, which takes minutes")
    _call(
        ["make", "setup"],
        clone,
        _environment(),
    )
    return clone / ".venv/bin"


def _fetch_data(
    repository: Path, clone: Path, data: Path, dvc: tuple[list[str], Mapping[str, str]], tell: Tell
) -> None:
    """Bring in what the stage reads: from the user's cache, read like a remote, so that nothing is written there."""
    command, environment = dvc
    cache = _call([*command, "cache", "dir"], repository, environment).strip()
    name = "users-cache"
    _call([*command, "remote", "add", "--local", "--quiet", name, cache], clone, environment)
    try:
        _call([*command, "pull", "--quiet", "--remote", name, str(data)], clone, environment)
    except TrackingError:
        tell(f"Pulling {data} from the remote")
        _call([*command, "pull", "--quiet", str(data)], clone, environment)
    else:
        tell(f"{data} comes from the DVC cache of this machine")


def _check_data(trace: Trace, clone: Path, data: Path, tell: Tell) -> None:
    """Tell where the commit has other data than the training had: ``dvc.lock`` was not committed then."""
    expected = trace.data_md5.get(data.as_posix())
    stages = yaml.safe_load((clone / "dvc.lock").read_text(encoding="utf-8"))["stages"].values()
    found = [
        out.get("md5") for stage in stages for out in stage.get("outs", []) if out["path"] == data.as_posix()
    ]
    if expected not in found:
        tell(
            f"{data} has md5 {found[0] if found else 'none'} at that commit, and {expected} when the model was trained"
        )


def _restore_settings(trace: Trace, clone: Path, tell: Tell) -> None:
    """Put the settings of the training in place, where they were not committed: an experiment's come from its command line."""
    path = clone / SETTINGS
    if trace.settings is not None and trace.settings.encode() != _read(path):
        tell(f"{SETTINGS} is another at that commit: taking the one that the model was registered with")
        path.write_text(trace.settings, encoding="utf-8")


def _compare_environment(trace: Trace) -> tuple[str, ...]:
    """Name what differs between the environment of the training and this one."""
    if not trace.environment:
        return ("the environment of its training is not known",)
    then, now = trace.environment, describe_environment()
    names = [name for name in ("python", "platform", "cpu", "cores") if name in then]
    different = [f"{name} was {then[name]}, is {now[name]}" for name in names if then[name] != now[name]]
    packages = then.get("packages", {})
    return (
        *different,
        *(
            f"{name} was {version}, is {now['packages'].get(name)}"
            for name, version in packages.items()
            if version != now["packages"].get(name)
        ),
    )


def _md5_of(path: Path) -> str:
    """Hash a file as DVC does."""
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def _environment() -> dict[str, str]:
    """Return the variables of this process, but for those that would lead a command back to where we come from."""
    return {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}


def _git(directory: Path) -> list[str]:
    return ["git", "-C", str(directory)]


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _call(command: list[str], directory: Path, environment: Mapping[str, str]) -> str:
    """Run a command and return what it printed."""
    answer = subprocess.run(  # noqa: S603 - fixed words, our own paths, and a commit that git checks
        command, cwd=directory, env=dict(environment), capture_output=True, text=True, check=False
    )
    if answer.returncode != 0:
        said = " / ".join((answer.stderr.strip() or answer.stdout.strip()).splitlines()[-KEPT_LINES:])
        raise TrackingError(f"`{' '.join(command)}` failed: {said}")
    return answer.stdout
