"""Where a study is kept: a journal file on this machine, or a database that several machines share."""

import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from visiongate.errors import VisiongateError

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

PASSWORD = "VISIONGATE_STORAGE_PASSWORD"  # noqa: S105 - the name of a variable
HEARTBEAT_SECONDS = 10  # how often a trial says that it is alive, in a database
ATTEMPTS, ATTEMPT_SECONDS = 5, 1.0  # at making a database's tables while another machine does
GRACE_SECONDS = 60  # of silence, after which a trial is run again by whoever is there


class StudyError(VisiongateError):
    """The study cannot be kept where the settings say, or its workers do not last."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where to keep a study."""

    journal: Path  # used where there is no address
    address: str | None = None  # of a database, without its password

    def open(self) -> "BaseStorage":
        """Connect; every process must do so itself.

        Raises:
            StudyError: The database, or a driver for it, is not there.
        """
        from optuna.storages import JournalStorage  # noqa: PLC0415 - for the search alone
        from optuna.storages.journal import JournalFileBackend  # noqa: PLC0415

        if self.address is None:
            self.journal.parent.mkdir(parents=True, exist_ok=True)
            return JournalStorage(JournalFileBackend(str(self.journal)))
        return _open_database(self.address)

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Hold the journal for this process and its workers, and mend what a power cut left of its last line.

        Raises:
            StudyError: Another process holds it.
        """
        if self.address is not None:
            yield
            return
        self.journal.parent.mkdir(parents=True, exist_ok=True)
        lock = self.journal.with_name(f".{self.journal.name}.owner")
        try:
            with FileLock(lock, timeout=0):
                _cut_half_line(self.journal)
                yield
        except Timeout:
            raise StudyError(
                f"{self.journal}: another search is at this study; wait for it, or use optimize.workers"
            ) from None

    def discard(self) -> None:
        """Delete the journal of a study that has ended; a database keeps it for the other machines."""
        if self.address is None:
            self.journal.unlink()


@contextmanager
def explained(address: str | None) -> Iterator[None]:
    """Run what talks to the study's storage, and raise its database's failures as one line without the password.

    Raises:
        StudyError: The database failed.
    """
    try:
        yield
    except VisiongateError:
        raise
    except Exception as error:
        cause = _database_error(error)
        if cause is None:
            raise
        raise _explain(str(address), cause) from None


def _database_error(error: BaseException | None) -> BaseException | None:
    """Find a database's failure in what Optuna makes of it, which may be a failure to clean up after it."""
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415 - for the search alone

    while error is not None and not isinstance(error, SQLAlchemyError):
        error = error.__cause__ or error.__context__
    return error


def _open_database(address: str) -> "BaseStorage":
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415 - for the search alone

    for attempts_left in range(ATTEMPTS - 1, -1, -1):
        try:
            return _connect(address)
        except ImportError:
            raise StudyError(
                f"optimize.storage = {address!r}: there is no driver for this database here: "
                "`pip install 'psycopg[binary]'` for postgresql+psycopg://, `pip install pymysql` for mysql+pymysql://"
            ) from None
        except SQLAlchemyError as error:
            # Machines that start together on an empty database all make the tables, and one of them is first.
            if not (attempts_left and "already exists" in str(error)):
                raise _explain(address, error) from None
        time.sleep(ATTEMPT_SECONDS)
    raise AssertionError("the last attempt returns or raises")


def _connect(address: str) -> "BaseStorage":
    from optuna.exceptions import ExperimentalWarning  # noqa: PLC0415 - for the search alone
    from optuna.storages import RDBStorage  # noqa: PLC0415
    from sqlalchemy.engine import make_url  # noqa: PLC0415

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


def _explain(address: str, error: BaseException) -> StudyError:
    detail = " ".join(str(error).split())
    password = os.environ.get(PASSWORD)
    if password:
        detail = detail.replace(password, "***")
    return StudyError(
        f"optimize.storage = {address!r}: {detail[:300]}; see that the database answers, with the password in {PASSWORD}"
    )


def _cut_half_line(journal: Path) -> None:
    if not journal.exists():
        return
    content = journal.read_bytes()
    if content and not content.endswith(b"\n"):
        with journal.open("r+b") as file:
            file.truncate(content.rfind(b"\n") + 1)
