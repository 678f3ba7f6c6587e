"""The MLflow store: its address, its creation, and a client."""

import logging
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen

from filelock import FileLock, Timeout

from visiongate.errors import VisiongateError
from visiongate.records.files import atomic_path, write_text
from visiongate.settings.tracking import Tracking

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment
    from sqlalchemy.engine.interfaces import DBAPIConnection

SQLITE = "sqlite:///"
HEALTH_TIMEOUT_SECONDS = 5
# Longer than creating a store or registering a model takes.
LOCK_SECONDS = 120
# MLflow reads these when it is imported or sends. Existing values are kept. By default it tries an absent server eight times.
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
# MLflow's pages then show models and runs, not the tabs for language models.
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
MAX_DETAIL = 300

logger = logging.getLogger(__name__)
Result = TypeVar("Result")


class TrackingError(VisiongateError):
    """MLflow cannot be reached, failed, or lacks a required object."""


@dataclass(frozen=True, slots=True)
class Store:
    """An MLflow store that answers, and the experiment to write to.

    Attributes:
        client: For the address.
        experiment_id: Of the experiment in the settings.
        address: Resolved, as MLflow takes it.
        database: The file of a local SQLite store; None for a server.
    """

    client: "MlflowClient"
    experiment_id: str
    address: str
    database: Path | None

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Lock a local store against other processes that register a model; a server has no lock.

        Raises:
            TrackingError: Another process holds the lock for too long.
        """
        if self.database is None:
            yield
            return
        lock, owner = _lock(self.database), self.database.with_name(f".{self.database.name}.owner")
        _acquire(lock, owner, self.address)
        try:
            write_text(owner, f"process {os.getpid()} on {platform.node()}")
            yield
        finally:
            lock.release()


def main_workspace() -> Path:
    """Return the folder whose store all experiments share; DVC sets ``DVC_ROOT`` to it in temporary copies too."""
    return Path(os.environ.get("DVC_ROOT") or Path.cwd()).absolute()


def resolve_address(uri: str) -> str:
    """Return ``MLFLOW_TRACKING_URI`` if it is set, otherwise ``uri``, with a SQLite path relative to the main workspace."""
    address = os.environ.get("MLFLOW_TRACKING_URI") or uri
    if not address.startswith(SQLITE):
        return address
    return f"{SQLITE}{main_workspace() / address.removeprefix(SQLITE)}"


def has_store(tracking: Tracking) -> bool:
    """Return whether there is a store to open; a server is assumed to be one."""
    address = resolve_address(tracking.uri)
    return not address.startswith(SQLITE) or Path(address.removeprefix(SQLITE)).exists()


def open_store(tracking: Tracking) -> Store:
    """Connect to MLflow; create the SQLite database and the experiment if they do not exist.

    Several processes may do this at once.

    Raises:
        TrackingError: The store cannot be reached or created, or the experiment cannot be used.
    """
    address = resolve_address(tracking.uri)
    database = Path(address.removeprefix(SQLITE)) if address.startswith(SQLITE) else None
    with mlflow_errors(address):
        # Importing MLflow takes a second.
        from mlflow import MlflowClient  # noqa: PLC0415

        _check_health(address)
        if database is not None:
            _create_database(database)
        client = MlflowClient(tracking_uri=address, registry_uri=address)
        experiment = _find_or_create_experiment(client, tracking.experiment, database)
    _check_experiment(experiment, database, address)
    return Store(client, experiment.experiment_id, address, database)


@contextmanager
def mlflow_errors(address: str) -> Iterator[None]:
    """Raise the errors of MLflow calls as one line that names the address.

    Raises:
        TrackingError: MLflow, its database or the network failed.
    """
    _prepare()
    from mlflow.exceptions import MlflowException  # noqa: PLC0415
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        detail = _hide_password(" ".join(str(error).split()), address)[:MAX_DETAIL]
        raise TrackingError(
            f"MLflow at {_hide_password(address, address)}: {detail}; check that the address answers, or set another in "
            "tracking.uri or MLFLOW_TRACKING_URI"
        ) from error


def unless_missing(query: Callable[[], Result]) -> Result | None:
    """Return the result of an MLflow call, None if the object does not exist."""
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    try:
        return query()
    except MlflowException as error:
        if error.error_code not in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
            raise
        return None


def _check_health(address: str) -> None:
    """Check that a server answers, with a shorter timeout than MLflow's.

    Raises:
        OSError: It does not answer.
    """
    if address.startswith(("http://", "https://")):
        # An HTTP error is an answer: a proxy may ask for a password first.
        with suppress(HTTPError):
            urlopen(f"{address.rstrip('/')}/health", timeout=HEALTH_TIMEOUT_SECONDS).close()  # noqa: S310


def _prepare() -> None:
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # It logs each error with a traceback, besides raising it.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


def _acquire(lock: FileLock, owner: Path, address: str) -> None:
    """Acquire a lock; say so if another process holds it. The lock of a killed process is free."""
    try:
        lock.acquire(timeout=0)
    except Timeout:
        holder = owner.read_text(encoding="utf-8") if owner.exists() else "another process"
        logger.info(
            "MLflow at %s: %s is registering a model; waiting up to %g s for it",
            address,
            holder,
            LOCK_SECONDS,
        )
    else:
        return
    try:
        lock.acquire()
    except Timeout:
        raise TrackingError(
            f"MLflow at {address}: {holder} has been registering a model for {LOCK_SECONDS} seconds; stop it, or run the "
            "command again later"
        ) from None


def _lock(database: Path) -> FileLock:
    return FileLock(database.with_name(f".{database.name}.lock"), timeout=LOCK_SECONDS)


def _create_database(database: Path) -> None:
    """Create the tables in a temporary file and move it, so that an interruption leaves no incomplete store."""
    if database.exists():
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore  # noqa: PLC0415

    database.parent.mkdir(parents=True, exist_ok=True)
    with _lock(database):
        # Another process may have created it meanwhile.
        if database.exists():
            return
        with atomic_path(database) as temporary:
            with _without_syncing():
                store = SqlAlchemyStore(f"{SQLITE}{temporary}", str(_artifacts(database)))  # type: ignore[no-untyped-call]
                store.engine.dispose()
            with temporary.open("rb") as file:
                os.fsync(file.fileno())


@contextmanager
def _without_syncing() -> Iterator[None]:
    """Let SQLite not wait for the disk after each of the hundreds of changes by which MLflow creates its tables.

    That takes seconds on a busy disk. A file that an interruption leaves incomplete is not used anyway.
    """
    from sqlalchemy import Engine, event  # noqa: PLC0415

    def turn_off(connection: "DBAPIConnection", _: object) -> None:
        connection.cursor().execute("PRAGMA synchronous = OFF")

    event.listen(Engine, "connect", turn_off)
    try:
        yield
    finally:
        event.remove(Engine, "connect", turn_off)


def _artifacts(database: Path) -> Path:
    """Return the folder of artifacts; MLflow's default is relative to the current folder, which may be a temporary copy."""
    return database.parent / "artifacts"


def _find_or_create_experiment(client: "MlflowClient", name: str, database: Path | None) -> "Experiment":
    experiment = client.get_experiment_by_name(name)
    if experiment is not None:
        return experiment
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    try:
        location = str(_artifacts(database)) if database else None
        client.create_experiment(name, artifact_location=location, tags=EXPERIMENT_TAGS)
    except MlflowException as error:
        # Another process was faster.
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    created = client.get_experiment_by_name(name)
    if created is None:
        raise MlflowException(f"experiment {name} was created but does not exist")
    return created


def _check_experiment(experiment: "Experiment", database: Path | None, address: str) -> None:
    """Refuse a deleted experiment, and one whose artifacts are outside this store.

    MLflow keeps absolute paths: in a folder that was copied or moved, it would write to the old one.
    """
    where = f"MLflow at {_hide_password(address, address)}: experiment {experiment.name!r}"
    if experiment.lifecycle_stage != "active":
        raise TrackingError(
            f"{where} is deleted; restore it with `mlflow experiments restore --experiment-id "
            f"{experiment.experiment_id}`, or set another tracking.experiment"
        )
    location = experiment.artifact_location
    if database is not None and location.startswith("/") and Path(location) != _artifacts(database):
        raise TrackingError(
            f"{where} has its artifacts in {location}, not in {_artifacts(database)}, because the store was copied or moved; "
            f"delete {database.parent} to start with an empty store, or set another tracking.experiment"
        )


def _hide_password(text: str, address: str) -> str:
    parts = urlsplit(address)
    return text.replace(f"{parts.username}:{parts.password}@", "***@") if parts.password else text
