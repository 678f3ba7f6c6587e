"""Choices of precision and threads on disk, for all repositories of a user, so that a machine trains alike each time."""

import logging
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from hashlib import sha256

import torch

from visiongate.models.feature_cache import TIMEOUT, cache_folder, cache_limit
from visiongate.training.hardware import DTYPES, Hardware

DATABASE = "hardware.sqlite"

logger = logging.getLogger(__name__)


def settle_choice(key: str, choose: Callable[[], Hardware]) -> Hardware:
    """Return the choice on disk, or choose and keep it; of several processes that choose at once, the first decides.

    A damaged database is deleted. Without a folder to write to, nothing is kept. Neither raises an error.

    Args:
        key: Everything that the choice depends on.
        choose: Called unless the disk has the choice.
    """
    if not cache_limit():
        return choose()
    digest = sha256(key.encode()).hexdigest()
    found = _use(digest, None)
    if found is None:
        chosen = choose()
        found = _use(digest, chosen) or chosen
    return found


def _use(digest: str, chosen: Hardware | None) -> Hardware | None:
    """Add a choice unless there is one, and return the one on disk, if any."""
    path = cache_folder() / DATABASE
    if chosen is None and not path.exists():
        return None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, timeout=TIMEOUT)) as database:
            database.execute(
                "CREATE TABLE IF NOT EXISTS choices (digest TEXT PRIMARY KEY, precision TEXT, threads INTEGER)"
            )
            if chosen is not None:
                row = (digest, chosen.precision, chosen.threads)
                database.execute("INSERT OR IGNORE INTO choices VALUES (?, ?, ?)", row)
                database.commit()
            query = "SELECT precision, threads FROM choices WHERE digest = ?"
            found = database.execute(query, (digest,)).fetchone()
    except (sqlite3.OperationalError, OSError) as error:
        logger.warning("%s: the choice of precision and threads is not kept: %s", path, error)
        return None
    except sqlite3.DatabaseError as error:
        logger.warning("%s: deleted, because it is damaged: %s", path, error)
        with suppress(OSError):
            path.unlink()
        return None
    if found is None or found[0] not in DTYPES:
        return None
    return Hardware(torch.device("cpu"), DTYPES[found[0]], found[1])
