"""Make a registered model again from its commit, apart from everything the user has, and see whether it is the same."""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from visiongate.adapters.dvc import fetch_outputs, run_dvc
from visiongate.adapters.git import UNKNOWN, Repository
from visiongate.adapters.mlflow.environment import describe_environment
from visiongate.adapters.mlflow.store import TrackingError
from visiongate.adapters.processes import isolated_environment, run_process
from visiongate.records.dvc_lock import read_lock
from visiongate.records.files import md5_of
from visiongate.registry.trace import SETTINGS, Trace

LOCK = Path("requirements.lock")
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
    repository = Repository(Path.cwd()).root()
    with tempfile.TemporaryDirectory(prefix="visiongate-rebuild-") as temporary:
        clone = Path(temporary, "clone")
        tell(f"Cloning commit {trace.commit[:7]} into {clone}")
        Repository(repository).clone(clone, trace.commit)
        binaries = _find_environment(repository, clone, tell)
        environment = {
            "PATH": os.pathsep.join([str(binaries), os.environ.get("PATH", "")]),
            "MLFLOW_TRACKING_URI": f"sqlite:///{temporary}/mlruns/mlflow.db",
        }
        command = (str(binaries / "python"), "-m", "dvc")
        run = partial(run_dvc, environment=environment, command=command, isolated=True)
        fetch_outputs(repository, clone, [plan.data], tell, run)
        _check_data(trace, clone, plan.data, tell)
        _restore_settings(trace, clone, tell)
        (clone / plan.model).unlink(missing_ok=True)
        tell(f"Running the stage {plan.stage}")
        started = time.monotonic()
        run(["repro", "--quiet", "--force", "--single-item", plan.stage], clone)
        return Rebuilt(
            trace.model_md5,
            md5_of(clone / plan.model),
            time.monotonic() - started,
            _compare_environment(trace),
        )


def _check_known(trace: Trace) -> None:
    if UNKNOWN in (trace.commit, trace.model_md5):
        raise TrackingError(
            f"{trace.version.uri}: its commit or its md5 is not known, so that it cannot be made again"
        )


def _find_environment(repository: Path, clone: Path, tell: Tell) -> Path:
    """Return the folder of the interpreter to use: ours, if that commit asks for the same packages."""
    if _read(repository / LOCK) == _read(clone / LOCK):
        tell(f"{LOCK} is the same at that commit: using {sys.executable}")
        return Path(sys.executable).parent
    tell(f"{LOCK} is another at that commit: making its environment, which takes minutes")
    run_process(["make", "setup"], clone, isolated_environment())
    return clone / ".venv/bin"


def _check_data(trace: Trace, clone: Path, data: Path, tell: Tell) -> None:
    """Tell where the commit has other data than the training had: ``dvc.lock`` was not committed then."""
    expected = trace.data_md5.get(data.as_posix())
    locked = read_lock(clone / "dvc.lock").outs.get(data.as_posix())
    if expected != locked:
        tell(f"{data} has md5 {locked or 'none'} at that commit, and {expected} when the model was trained")


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


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None
