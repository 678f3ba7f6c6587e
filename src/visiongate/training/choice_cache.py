"""Choices of precision and threads on disk, for all repositories of a user, so that a machine trains alike each time."""

import sqlite3
from collections.abc import Callable
from hashlib import sha256

import torch

from visiongate.training.hardware import DTYPES, Hardware
from visiongate.user_cache import cache_folder, cache_limit, use_database

DATABASE = "hardware.sqlite"
TABLE = "choices (digest TEXT PRIMARY KEY, precision TEXT, threads INTEGER)"


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
    found: list[tuple[str, int]] = []

    def act(database: sqlite3.Connection) -> None:
        if chosen is not None:
            row = (digest, chosen.precision, chosen.threads)
            database.execute("INSERT OR IGNORE INTO choices VALUES (?, ?, ?)", row)
            database.commit()
        found.extend(database.execute("SELECT precision, threads FROM choices WHERE digest = ?", (digest,)))

    use_database(path, TABLE, act, "the choice of precision and threads is not kept")
    for precision, threads in found:
        if precision in DTYPES:
            return Hardware(torch.device("cpu"), DTYPES[precision], threads)
    return None
