"""One registration at a time: a file lock for a local store, a lease in a tag for a server."""

import json
import logging
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from filelock import Timeout

from visiongate.adapters.mlflow.registry import create_registered_model
from visiongate.adapters.mlflow.store import LOCK_SECONDS, Store, TrackingError, mlflow_errors

LOCK_TAG = "visiongate.lock"
# Longer than any step between two renewals takes.
LEASE_SECONDS = 180.0
# Longer than a client takes between reading the tag and writing it.
SETTLE_SECONDS = 1.0
POLL_SECONDS = 2.0

logger = logging.getLogger(__name__)
Renew = Callable[[], None]


class LeaseLostError(TrackingError):
    """Another process has taken over the lease, because this one was too slow."""


@contextmanager
def exclusive(store: Store, name: str) -> Iterator[Renew]:
    """Keep other processes from registering or rolling back a model of this name.

    MLflow's server has no compare-and-swap, so a tag of the registered model names the holder of the lease and its end. A
    process that finds no valid lease writes its own, waits until others that found none have written too, and reads again:
    the last writer holds the lease. The lease of a killed process expires.

    This does not cover a request that takes longer than `SETTLE_SECONDS`, clocks that differ by more than a lease, and
    other tools that move aliases. Therefore the champion is read again before an alias moves.

    Args:
        store: The registry.
        name: Of the registered model, which is created if it does not exist.

    Yields:
        A function that renews the lease, to be called after each slow step and before an alias moves. It raises
        `LeaseLostError`.

    Raises:
        TrackingError: MLflow failed, or another process held the lease all the time.
    """
    if store.database is not None:
        with _file_lock(store):
            yield lambda: None
        return
    lease = _Lease(store, name, f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}")
    create_registered_model(store, name)
    lease.acquire()
    try:
        yield lease.renew
    finally:
        # An earlier error is more important, and the lease expires.
        with suppress(TrackingError):
            lease.release()


@contextmanager
def _file_lock(store: Store) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            stack.enter_context(store.exclusive())
        except Timeout:
            raise TrackingError(
                f"MLflow at {store.address}: another process has been registering for {LOCK_SECONDS} seconds; check it, and "
                "run the command again"
            ) from None
        yield


@dataclass(frozen=True, slots=True)
class _Lease:
    store: Store
    name: str
    owner: str

    def acquire(self) -> None:
        """Wait for the lease for at most twice its length."""
        deadline = time.monotonic() + 2 * LEASE_SECONDS
        holder = self._holder()
        if holder not in {None, self.owner}:
            logger.warning("%s is registering %s, or was killed while it did; waiting", holder, self.name)
        while holder != self.owner:
            if holder is None:
                # If two processes write at once, the server may refuse one, which then reads the other's name.
                with suppress(TrackingError):
                    self._write()
                time.sleep(SETTLE_SECONDS)
            elif time.monotonic() > deadline:
                raise TrackingError(
                    f"registered model {self.name}: {holder} has been registering all the time; run the command again, or "
                    f"delete the tag {LOCK_TAG} if that process is gone"
                )
            else:
                time.sleep(POLL_SECONDS)
            holder = self._holder()

    def renew(self) -> None:
        """Extend the lease; acquire it again if it has expired and nobody has taken it."""
        holder = self._holder()
        if holder == self.owner:
            self._write()
        elif holder is None:
            self.acquire()
        else:
            raise LeaseLostError(
                f"registered model {self.name}: {holder} took over the lease, because this process was too slow; no alias "
                "was moved: run the command again"
            )

    def release(self) -> None:
        """Let the next process have the lease."""
        if self._holder() == self.owner:
            with mlflow_errors(self.store.address):
                self.store.client.delete_registered_model_tag(self.name, LOCK_TAG)

    def _holder(self) -> str | None:
        """Return the owner of a lease that has not expired."""
        with mlflow_errors(self.store.address):
            text = self.store.client.get_registered_model(self.name).tags.get(LOCK_TAG)
        try:
            lease = json.loads(text or "{}")
            valid = datetime.fromisoformat(lease["until"]) > datetime.now(UTC)
            return str(lease["owner"]) if valid else None
        except (ValueError, KeyError, TypeError):
            return None

    def _write(self) -> None:
        until = datetime.fromtimestamp(time.time() + LEASE_SECONDS, UTC).isoformat(timespec="seconds")
        with mlflow_errors(self.store.address):
            text = json.dumps({"owner": self.owner, "until": until})
            self.store.client.set_registered_model_tag(self.name, LOCK_TAG, text)
