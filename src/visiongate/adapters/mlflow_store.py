"""Where MLflow keeps runs and models: the address resolved, the store made ready, and a client of it."""

import logging
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen

from filelock import FileLock

from visiongate.errors import VisiongateError
from visiongate.records.files import atomic_path
from visiongate.settings.schema import Tracking

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

SQLITE = "sqlite:///"
ANSWER_SECONDS = 5
LOCK_SECONDS = 120  # longer than creating a store or registering a model takes
# MLflow reads these when it is imported or when it sends; whoever has set one keeps it. By default it would
# try an absent server eight times, for minutes, before saying so.
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}


class TrackingError(VisiongateError):
    """The MLflow store cannot be reached, or what it holds is not what is needed."""


@dataclass(frozen=True, slots=True)
class Store:
    """An MLflow store that answers, and the experiment to write to."""

    client: "MlflowClient"
    experiment_id: str
    address: str  # resolved, as MLflow takes it
    database: Path | None  # of a local SQLite store

    def exclusive(self) -> AbstractContextManager[object]:
        """Hold off other processes that register a model; a remote server offers nothing to do it with."""
        return nullcontext() if self.database is None else _lock(self.database)


def main_workspace() -> Path:
    """Return the folder whose store all experiments share; DVC names it, in temporary copies too."""
    return Path(os.environ.get("DVC_ROOT") or Path.cwd()).absolute()


def resolve_address(uri: str) -> str:
    """Return ``MLFLOW_TRACKING_URI`` if set, else ``uri``, its SQLite path taken from the main workspace."""
    chosen = os.environ.get("MLFLOW_TRACKING_URI") or uri
    if not chosen.startswith(SQLITE):
        return chosen
    return f"{SQLITE}{main_workspace() / chosen.removeprefix(SQLITE)}"


def open_store(tracking: Tracking) -> Store:
    """Connect to MLflow; make the SQLite database and the experiment if there are none.

    Safe when several processes do it at once.

    Raises:
        TrackingError: The store cannot be reached or made, or the experiment in it cannot be used.
    """
    address = resolve_address(tracking.uri)
    database = Path(address.removeprefix(SQLITE)) if address.startswith(SQLITE) else None
    with explained(address):
        from mlflow import MlflowClient  # noqa: PLC0415 - a second of imports

        _check_answers(address)
        if database is not None:
            _create_database(database)
        client = MlflowClient(tracking_uri=address, registry_uri=address)
        experiment = _find_or_create_experiment(client, tracking.experiment, database)
    _check_experiment(experiment, database, address)
    return Store(client, experiment.experiment_id, address, database)


@contextmanager
def explained(address: str) -> Iterator[None]:
    """Run MLflow calls, and raise what goes wrong in them as one line that names the address.

    Raises:
        TrackingError: MLflow, its database or the network failed.
    """
    _prepare()
    from mlflow.exceptions import MlflowException  # noqa: PLC0415 - a second of imports
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        detail = _without_password(" ".join(str(error).split()), address)[:300]
        raise TrackingError(
            f"MLflow at {_without_password(address, address)}: {detail}; see that the address answers, or give "
            "another in tracking.uri or MLFLOW_TRACKING_URI"
        ) from error


def _check_answers(address: str) -> None:
    """Ask a server whether it is there, for a shorter time than a client waits that has work for it.

    Raises:
        OSError: It does not answer.
    """
    if address.startswith(("http://", "https://")):
        with suppress(HTTPError):  # an answer too: a proxy may ask for a password first
            urlopen(f"{address.rstrip('/')}/health", timeout=ANSWER_SECONDS).close()  # noqa: S310 - http alone


def _prepare() -> None:
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # It logs, with a traceback, the error that it raises as well.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


def _lock(database: Path) -> FileLock:
    return FileLock(database.with_name(f".{database.name}.lock"), timeout=LOCK_SECONDS)


def _create_database(database: Path) -> None:
    """Make the tables beside, and move them in place whole: who is stopped half-way leaves no half store."""
    if database.exists():
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore  # noqa: PLC0415 - half a second of imports

    database.parent.mkdir(parents=True, exist_ok=True)
    with _lock(database):
        if database.exists():  # another process was faster
            return
        with atomic_path(database) as temporary:
            url = f"{SQLITE}{temporary}"
            SqlAlchemyStore(url, str(_artifacts(database))).engine.dispose()  # type: ignore[no-untyped-call]


def _artifacts(database: Path) -> Path:
    """Name the folder of artifacts; MLflow's default is relative to a process, maybe in a temporary copy."""
    return database.parent / "artifacts"


def _find_or_create_experiment(client: "MlflowClient", name: str, database: Path | None) -> "Experiment":
    found = client.get_experiment_by_name(name)
    if found is not None:
        return found
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    try:
        client.create_experiment(name, artifact_location=str(_artifacts(database)) if database else None)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another process was faster
            raise
    created = client.get_experiment_by_name(name)
    if created is None:
        raise MlflowException(f"experiment {name} was created and is not there")
    return created


def _check_experiment(experiment: "Experiment", database: Path | None, address: str) -> None:
    """Refuse an experiment that takes no runs, or whose artifacts lie where this store does not.

    MLflow keeps absolute paths: in a folder that was copied or moved, it would write to the old place.
    """
    where = f"MLflow at {_without_password(address, address)}: experiment {experiment.name!r}"
    if experiment.lifecycle_stage != "active":
        raise TrackingError(
            f"{where} is deleted: restore it with `mlflow experiments restore --experiment-id "
            f"{experiment.experiment_id}`, or choose another tracking.experiment"
        )
    location = experiment.artifact_location
    if database is not None and location.startswith("/") and Path(location) != _artifacts(database):
        raise TrackingError(
            f"{where} keeps its artifacts in {location}, not in {_artifacts(database)}: the store was copied "
            f"or moved; delete {database.parent} to start anew, or choose another tracking.experiment"
        )


def _without_password(text: str, address: str) -> str:
    parts = urlsplit(address)
    return text.replace(f"{parts.username}:{parts.password}@", "***@") if parts.password else text
