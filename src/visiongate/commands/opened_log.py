"""The prediction log, opened by a command."""

from collections.abc import Iterator
from contextlib import contextmanager

from visiongate.errors import SettingsError, VisiongateError
from visiongate.monitoring.address import check_address
from visiongate.monitoring.database import Database
from visiongate.monitoring.entries import LogUnavailableError
from visiongate.monitoring.faults import explain_fault
from visiongate.settings.serving import PredictionLog


@contextmanager
def open_log(settings: PredictionLog) -> Iterator[Database]:
    """Open the database for the body, which may read and write it.

    Raises:
        SettingsError: There is no prediction log, or its address is invalid.
        LogUnavailableError: The database cannot be used, in the body neither.
    """
    if not settings.enabled:
        raise SettingsError(
            "serving.log.enabled = false: there is no prediction log to read; set it to true for the service"
        )
    check_address(settings.address)
    try:
        database = Database(settings.address, create=False)
        try:
            yield database
        finally:
            database.close()
    except VisiongateError:
        raise
    # Whatever a database or its driver raises.
    except Exception as error:
        raise LogUnavailableError(explain_fault(error)) from error
