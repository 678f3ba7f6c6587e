"""The cache of a user, for all repositories: a folder of SQLite databases, which may be deleted at any time."""

import logging
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import platformdirs

# Environment variables: the folder of the cache, and its maximum size in megabytes; 0 disables it.
FOLDER, LIMIT = "VISIONGATE_CACHE", "VISIONGATE_CACHE_MB"
DEFAULT_LIMIT = 4000
MEGABYTE = 10**6
# Seconds to wait while another process writes.
TIMEOUT = 30.0
logger = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Return the folder of the cache, which may not exist."""
    chosen = os.environ.get(FOLDER)
    return Path(chosen) if chosen else platformdirs.user_cache_path("visiongate", appauthor=False)


def cache_limit() -> int:
    """Return the maximum size of the cache, in bytes."""
    value = os.environ.get(LIMIT, "")
    return MEGABYTE * (int(value) if value.isdecimal() else DEFAULT_LIMIT)


def use_database(
    path: Path, table: str, action: Callable[[sqlite3.Connection], None], consequence: str
) -> None:
    """Call an action with a database of the cache.

    A damaged database is deleted. Without a folder to write to, there is none. Neither raises an error.

    Args:
        path: In the folder of the cache.
        table: Name and columns of the table that is made if it is missing, in SQL.
        action: May not be called, or not to its end.
        consequence: Of a database that cannot be used, for the warning.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, timeout=TIMEOUT)) as database:
            database.execute(f"CREATE TABLE IF NOT EXISTS {table}")
            action(database)
    except (sqlite3.OperationalError, OSError) as error:
        logger.warning("%s: %s: %s", path, consequence, error)
    except sqlite3.DatabaseError as error:
        logger.warning("%s: deleted, because it is damaged: %s", path, error)
        with suppress(OSError):
            delete_database(path)


def delete_database(path: Path) -> None:
    """Delete a database, and what an interrupted process has left beside it."""
    for file in (path, path.with_name(f"{path.name}-journal")):
        file.unlink(missing_ok=True)
