"""What may be said about a database that fails. The address, which may have a password, is not in it."""

import os
from typing import Final

from visiongate.monitoring.address import SETTING

# All that SQLite says.
CANNOT_OPEN: Final = "unable to open database file"


def explain_fault(error: Exception) -> str:
    """Return the first line of an error, for a database's without SQLAlchemy's additions and without the statement."""
    if isinstance(error, ModuleNotFoundError):
        return f"{SETTING}: its driver {error.name!r} is not installed; write postgresql+psycopg://…, or install it"
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    reason = lines[0] if lines else type(error).__name__
    if reason == CANNOT_OPEN:
        return f"{reason}: user {os.getuid()} must be able to write to the folder of {SETTING}"
    return reason
