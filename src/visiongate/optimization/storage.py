"""Where a study is stored: a journal file on this machine, or a database that several machines share."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from visiongate.errors import VisiongateError

# Journals of unfinished studies, and scores that need not be trained again. DVC tracks the results only.
JOURNALS = Path("mlruns/optuna")
# The environment variable with the database's password.
PASSWORD = "VISIONGATE_STORAGE_PASSWORD"  # noqa: S105
HEARTBEAT_SECONDS = 10
# A trial in a database without a heartbeat for so long is run again.
GRACE_SECONDS = 60
MAX_MESSAGE = 300


class StudyError(VisiongateError):
    """The study's storage is unavailable, or a worker failed."""


@dataclass(frozen=True, slots=True)
class StudyStorage:
    """The storage of a study.

    Attributes:
        journal: The journal file, used if there is no address.
        address: The database's address, without its password.
    """

    journal: Path
    address: str | None = None

    def open(self) -> BaseStorage:
        """Connect to the storage. Each process needs its own connection.

        Raises:
            StudyError: The database or its driver is unavailable.
        """
        if self.address is not None:
            return _open_database(self.address)
        self.journal.parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(str(self.journal)))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Reserve the journal for this process and its workers.

        Raises:
            StudyError: Another process has reserved it.
        """
        if self.address is not None:
            yield
            return
        self.journal.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.journal.with_name(f".{self.journal.name}.lock"), timeout=0):
                yield
        except Timeout:
            raise StudyError(
                f"{self.journal}: another process runs this study; wait for it, or set optimize.storage to a database"
            ) from None

    def discard(self) -> None:
        """Delete the journal of a finished study. A database keeps the study for the other machines."""
        if self.address is None:
            self.journal.unlink(missing_ok=True)


def _open_database(address: str) -> BaseStorage:
    try:
        url = make_url(address)
        if PASSWORD in os.environ:
            url = url.set(password=os.environ[PASSWORD])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return RDBStorage(
                url.render_as_string(hide_password=False),
                heartbeat_interval=HEARTBEAT_SECONDS,
                grace_period=GRACE_SECONDS,
                engine_kwargs={"pool_pre_ping": True},
            )
    except ImportError:
        raise StudyError(
            f"optimize.storage = {address!r}: the database's driver is not installed; "
            "run `pip install 'psycopg[binary]'` for postgresql+psycopg://, or `pip install pymysql` for mysql+pymysql://"
        ) from None
    except SQLAlchemyError as error:
        raise StudyError(
            f"optimize.storage = {address!r}: {_without_password(str(error))}; check that the database is running and that "
            f"{PASSWORD} is its password"
        ) from None


def _without_password(message: str) -> str:
    line = " ".join(message.split())[:MAX_MESSAGE]
    password = os.environ.get(PASSWORD)
    return line.replace(password, "***") if password else line
