"""Features of images on disk, by content, for all repositories of a user.

Features of a frozen backbone depend on the backbone and on the image alone, so that experiments, trials, folds and copies of a
repository share them. They are outside the outputs that DVC tracks and may be deleted at any time. Each backbone has a SQLite
database, which several processes may read and write at once.
"""

import os
import sqlite3
import time
import zlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from visiongate.user_cache import cache_folder, cache_limit, delete_database, use_database

CHECKSUM_BYTES = 4
# SQLite's limit of variables in a query was lower in old versions.
KEYS_PER_QUERY = 500

Features = npt.NDArray[np.float32]


class FeatureCache:
    """The features of images for one backbone.

    A damaged database is deleted. Without a folder to write to, nothing is kept. Neither raises an error.

    Args:
        backbone: The sha256 of the backbone, in hexadecimal.
        size: Features of an image.
    """

    def __init__(self, backbone: str, size: int) -> None:
        self._size = size
        self._path = cache_folder() / "features" / f"{backbone}.sqlite"
        self._limit = cache_limit()

    def read(self, keys: Sequence[bytes]) -> dict[bytes, Features]:
        """Return the features of the images that are in the cache, by key.

        Args:
            keys: The sha256 of each image's pixels.
        """
        found: dict[bytes, Features] = {}

        def select(database: sqlite3.Connection) -> None:
            for start in range(0, len(keys), KEYS_PER_QUERY):
                chunk = list(keys[start : start + KEYS_PER_QUERY])
                marks = ",".join("?" * len(chunk))
                query = f"SELECT image, content FROM features WHERE image IN ({marks})"  # noqa: S608 - only question marks
                for key, content in database.execute(query, chunk):
                    vector = _unpack(key, content, self._size)
                    if vector is not None:
                        found[key] = vector

        if self._path.exists():
            self._use(select)
        return found

    def write(self, features: Mapping[bytes, Features]) -> None:
        """Add the features of images by key, and delete what was used least recently if the cache becomes too large."""

        def insert(database: sqlite3.Connection) -> None:
            rows = ((key, _pack(key, vector)) for key, vector in features.items())
            database.executemany("INSERT OR REPLACE INTO features VALUES (?, ?)", rows)
            database.commit()
            self._shrink(database)

        if self._limit:
            self._use(insert)

    def _use(self, action: Callable[[sqlite3.Connection], None]) -> None:
        """Call an action with the database, and note the time of its last use."""

        def act(database: sqlite3.Connection) -> None:
            action(database)
            # `_shrink` needs it more exactly than the file system keeps it.
            os.utime(self._path, ns=(time.time_ns(), time.time_ns()))

        use_database(self._path, "features (image BLOB UNIQUE, content BLOB)", act, "features are not cached")

    def _shrink(self, database: sqlite3.Connection) -> None:
        """Delete the least recently used databases, and at last the older half of this one, until the limit is kept."""
        sizes = {path: path.stat().st_size for path in self._path.parent.glob("*.sqlite")}
        oldest_first = sorted(sizes, key=lambda path: path.stat().st_mtime)
        total = sum(sizes.values())
        for path in oldest_first:
            if total <= self._limit:
                return
            if path != self._path:
                delete_database(path)
                total -= sizes[path]
        if total > self._limit:
            database.execute(
                "DELETE FROM features WHERE rowid <= (SELECT (min(rowid) + max(rowid)) / 2 FROM features)"
            )
            database.commit()
            database.execute("VACUUM")


def _pack(key: bytes, vector: Features) -> bytes:
    content = np.ascontiguousarray(vector, dtype="<f4").tobytes()
    return _checksum(key, content) + content


def _unpack(key: bytes, content: object, size: int) -> Features | None:
    """Return the features; None if they are damaged."""
    if not isinstance(content, bytes) or len(content) != CHECKSUM_BYTES + 4 * size:
        return None
    checksum, values = content[:CHECKSUM_BYTES], content[CHECKSUM_BYTES:]
    if checksum != _checksum(key, values):
        return None
    return np.frombuffer(values, dtype="<f4").astype(np.float32)


def _checksum(key: bytes, content: bytes) -> bytes:
    return zlib.crc32(content, zlib.crc32(key)).to_bytes(CHECKSUM_BYTES, "big")
