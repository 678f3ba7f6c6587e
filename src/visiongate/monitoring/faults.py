"""What may be said about a database that fails. The address, which may have a password, is not in it."""

from visiongate.monitoring.address import SETTING


def explain_fault(error: Exception) -> str:
    """Return the first line of an error, for a database's without SQLAlchemy's additions and without the statement."""
    if isinstance(error, ModuleNotFoundError):
        return f"{SETTING}: its driver {error.name!r} is not installed; write postgresql+psycopg://…, or install it"
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
