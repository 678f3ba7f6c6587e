"""The references of the models that are served, until the database of the prediction log has them."""

import logging
from collections.abc import Callable
from threading import Lock
from typing import Final

from visiongate.monitoring.entries import LoggedModel

# The last ones are kept in memory, some 2 MB each at most, to be stored again if the database is exchanged.
KEPT: Final = 16
logger = logging.getLogger(__name__)


class ReferenceKeeper:
    """Holds the content of reference files. Any thread may add one; one thread stores them."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._contents: dict[LoggedModel, bytes] = {}
        self._pending: dict[LoggedModel, bytes] = {}

    def __len__(self) -> int:
        """Return how many are to be stored."""
        return len(self._pending)

    def add(self, model: LoggedModel, content: bytes) -> None:
        """Add the reference of a model, unless it is the one that was added before."""
        with self._lock:
            if self._contents.get(model) == content:
                return
            self._contents.pop(model, None)
            self._contents[model] = self._pending[model] = content
            while len(self._contents) > KEPT:
                del self._contents[next(iter(self._contents))]

    def start_again(self) -> None:
        """Store all again, in a database that may not have them."""
        with self._lock:
            self._pending = dict(self._contents)

    def store(self, write: Callable[[LoggedModel, bytes], bool]) -> None:
        """Store what is to be stored. What the database refuses is not tried again.

        Args:
            write: Returns whether the database took a reference, and raises an error if it cannot be written.
        """
        for model, content in list(self._pending.items()):
            if not write(model, content):
                logger.warning(
                    "prediction log: the database refused the reference of %s; `visiongate drift` has none",
                    model.name,
                )
            with self._lock:
                # Another one may have been added in the meantime.
                if self._pending.get(model) == content:
                    del self._pending[model]
