"""One registration at a time: a file lock beside a local store, a lease in a tag on a server."""

import json
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from filelock import Timeout

from visiongate.adapters.mlflow_store import LOCK_SECONDS, Store, TrackingError, explained
from visiongate.registration.registry import make_registered_model

LOCK_TAG = "visiongate.lock"
LEASE_SECONDS = 180.0  # longer than any step between two renewals takes
SETTLE_SECONDS = 1.0  # longer than a client takes from reading the tag to writing it
POLL_SECONDS = 2.0

Renew = Callable[[], None]


class LeaseLostError(TrackingError):
    """Another process took the lease over, for this one was too slow."""


@contextmanager
def exclusive(store: Store, name: str) -> Iterator[Renew]:
    """Hold off other processes that register a model of this name or roll it back.

    A local store is locked by a file, which the system lets go when a process dies. MLflow's server has no compare-and-swap;
    there a tag of the registered model names the holder and when its lease ends. Who finds no valid lease writes its own, waits
    until any other that saw none has written too, and reads again: the last to write holds it. Who was killed is waited
    for until its lease ends.

    It does not cover: a request that takes longer than `SETTLE_SECONDS` to arrive, clocks that differ by more than a lease, a
    process that stops for longer than a lease between its last renewal and the write that follows, and whoever moves
    aliases by other means. That is why the champion is read once more before the alias moves.

    Args:
        store: Where.
        name: Of the registered model; it is made if there is none.

    Yields:
        What renews the lease: to be called after each slow step, and before an alias is moved. It raises `LeaseLostError`.

    Raises:
        TrackingError: MLflow failed, or others held it all the time.
    """
    if store.database is not None:
        with _file_lock(store):
            yield lambda: None
        return
    lease = _Lease(store, name, f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}")
    make_registered_model(store, name)
    lease.acquire()
    try:
        yield lease.renew
    finally:
        with suppress(TrackingError):  # what failed before says more, and the lease ends by itself
            lease.release()


@contextmanager
def _file_lock(store: Store) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            stack.enter_context(store.exclusive())
        except Timeout:
            raise TrackingError(
                f"MLflow at {store.address}: another process has been registering for {LOCK_SECONDS} seconds; "
                "see what it does, and run again"
            ) from None
        yield


@dataclass(frozen=True, slots=True)
class _Lease:
    store: Store
    name: str
    owner: str

    def acquire(self) -> None:
        """Wait for the lease, twice as long as one lasts."""
        give_up = time.monotonic() + 2 * LEASE_SECONDS
        holder = self._holder()
        if holder not in {None, self.owner}:
            print(f"Waiting: {holder} is registering {self.name} too, or was killed while it did", flush=True)
        while holder != self.owner:
            if holder is None:
                with suppress(
                    TrackingError
                ):  # of two who write at once a server may refuse one, who then reads the other's name
                    self._write()
                time.sleep(SETTLE_SECONDS)
            elif time.monotonic() > give_up:
                raise TrackingError(
                    f"registered model {self.name}: {holder} has been registering all the time; run again, or delete the "
                    f"tag {LOCK_TAG} if it is not alive"
                )
            else:
                time.sleep(POLL_SECONDS)
            holder = self._holder()

    def renew(self) -> None:
        """Make it last longer; where it ended and nobody has taken it, take it anew."""
        holder = self._holder()
        if holder == self.owner:
            self._write()
        elif holder is None:
            self.acquire()
        else:
            raise LeaseLostError(
                f"registered model {self.name}: {holder} holds the lease now, for this process was too slow; "
                "no alias was moved: run again"
            )

    def release(self) -> None:
        """Let the next one have it."""
        if self._holder() == self.owner:
            with explained(self.store.address):
                self.store.client.delete_registered_model_tag(self.name, LOCK_TAG)

    def _holder(self) -> str | None:
        """Name the owner of a lease that lasts."""
        with explained(self.store.address):
            text = self.store.client.get_registered_model(self.name).tags.get(LOCK_TAG)
        try:
            lease = json.loads(text or "{}")
            lasts = datetime.fromisoformat(lease["until"]) > datetime.now(UTC)
            return str(lease["owner"]) if lasts else None
        except (ValueError, KeyError, TypeError):  # none, or something that somebody else wrote
            return None

    def _write(self) -> None:
        until = datetime.fromtimestamp(time.time() + LEASE_SECONDS, UTC).isoformat(timespec="seconds")
        with explained(self.store.address):
            text = json.dumps({"owner": self.owner, "until": until})
            self.store.client.set_registered_model_tag(self.name, LOCK_TAG, text)
