"""Rebuild a registered model from its commit in a temporary clone, and compare the files."""

import logging
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from visiongate.adapters.dvc import fetch_outputs, run_dvc
from visiongate.adapters.git import SHORT_COMMIT, UNKNOWN, Repository
from visiongate.adapters.mlflow.environment import describe_environment
from visiongate.adapters.mlflow.store import TrackingError
from visiongate.adapters.processes import isolated_environment, program_path, run_process
from visiongate.records.dvc_lock import read_lock
from visiongate.records.files import md5_of
from visiongate.registry.trace import Trace

REQUIREMENTS = Path("requirements.lock")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Training:
    """The stage that trains, the output that it reads, and the model that it writes."""

    stage: str
    data: Path
    model: Path


@dataclass(frozen=True, slots=True)
class RebuildResult:
    """The md5 of the registered and of the rebuilt model, the seconds that it took, and how the environments differ."""

    expected: str
    actual: str
    seconds: float
    differences: tuple[str, ...]

    @property
    def is_identical(self) -> bool:
        """Whether the files are identical."""
        return self.expected == self.actual

    def __str__(self) -> str:
        """Return the result as text."""
        if self.is_identical:
            return f"Identical: the rebuilt model has md5 {self.actual} too, after {self.seconds:.0f} s"
        differences = "\n  ".join(self.differences or ["nothing that is recorded"])
        return (
            f"Different: the rebuilt model has md5 {self.actual}, not {self.expected}; in the environment differs:\n"
            f"  {differences}"
        )


def rebuild(trace: Trace, training: Training) -> RebuildResult:
    """Train the model of a version again in a temporary clone, and compare the files.

    The clone has its own DVC cache and MLflow store, so nothing of the user's is written. The data come from the user's DVC
    cache, otherwise from the remote.

    Raises:
        VisiongateError: The commit is unknown or not in this repository, its data are unavailable, or a command failed.
    """
    if UNKNOWN in (trace.commit, trace.model_md5):
        raise TrackingError(f"{trace.version.uri}: cannot be rebuilt: its commit or its md5 is unknown")
    repository = Repository(Path.cwd()).root()
    with tempfile.TemporaryDirectory(prefix="visiongate-rebuild-") as temporary:
        clone = Path(temporary, "clone")
        logger.info("Cloning commit %s into %s", trace.commit[:SHORT_COMMIT], clone)
        Repository(repository).clone(clone, trace.commit)
        started = time.monotonic()
        _train(trace, training, repository, clone)
        return RebuildResult(
            trace.model_md5,
            md5_of(clone / training.model),
            time.monotonic() - started,
            tuple(_compare_environment(trace)),
        )


def _train(trace: Trace, training: Training, repository: Path, clone: Path) -> None:
    binaries = _find_environment(repository, clone)
    environment = {
        "PATH": program_path(binaries),
        "MLFLOW_TRACKING_URI": f"sqlite:///{clone.parent}/mlruns/mlflow.db",
    }
    command = (str(binaries / "python"), "-m", "dvc")
    run = partial(run_dvc, environment=environment, command=command, isolated=True)
    _restore_files(trace, clone)
    fetch_outputs(repository, clone, [training.data], logger.info, run)
    _check_data(trace, clone, training.data)
    (clone / training.model).unlink(missing_ok=True)
    logger.info("Running the stage %s", training.stage)
    run(["repro", "--quiet", "--force", "--single-item", training.stage], clone)


def _find_environment(repository: Path, clone: Path) -> Path:
    """Return the folder of the interpreter: this one, if the commit requires the same packages."""
    if _read(repository / REQUIREMENTS) == _read(clone / REQUIREMENTS):
        return Path(sys.executable).parent
    logger.info("%s differs at that commit; creating its environment takes minutes", REQUIREMENTS)
    run_process(["make", "setup"], clone, isolated_environment())
    return clone / ".venv/bin"


def _check_data(trace: Trace, clone: Path, data: Path) -> None:
    """Warn if the commit has other data than the training, because ``dvc.lock`` was not committed."""
    expected = trace.data_md5.get(data.as_posix())
    locked = read_lock(clone / "dvc.lock").outs.get(data.as_posix())
    if expected != locked:
        logger.warning("%s has md5 %s at that commit, but had %s in the training", data, locked, expected)


def _restore_files(trace: Trace, clone: Path) -> None:
    """Write the parameters and the lock of the training, which its commit may not have."""
    for name, content in trace.files.items():
        path = clone / name
        if content != _read(path):
            logger.info("%s differs at that commit; using the one of the registration", name)
            path.write_bytes(content)


def _compare_environment(trace: Trace) -> Iterator[str]:
    if not trace.environment:
        yield "the environment of the training is unknown"
    then, now = (_flatten(environment) for environment in (trace.environment, describe_environment()))
    for name, value in then.items():
        if value != now.get(name):
            yield f"{name}: {value} in the training, {now.get(name)} here"


def _flatten(environment: Mapping[str, Any]) -> dict[str, Any]:
    rest = {name: value for name, value in environment.items() if name != "packages"}
    return rest | dict(environment.get("packages", {}))


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None
