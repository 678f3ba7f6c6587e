"""Accept no more than can be answered in time: a bound on requests and on their bytes.

A request takes a place when its body is complete, and its bytes count as they arrive. Clients that send slowly, or announce
more than they send, therefore take nothing from the others.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from visiongate.serving.web.problems import Problem

# After which a rejected client may try again, in seconds.
RETRY_AFTER = 1


class Admission:
    """Counts the requests with images, in the event loop.

    Attributes:
        requests: That are being answered.
        bytes: Of these requests, and of those that are arriving.

    Args:
        max_requests: At a time.
        max_bytes: Of all of them.
    """

    def __init__(self, max_requests: int, max_bytes: int) -> None:
        self.requests = self.bytes = 0
        self._max_requests, self._max_bytes = max_requests, max_bytes

    @contextmanager
    def enter(self) -> Iterator["Place"]:
        """Follow a request from its beginning to its answer.

        Raises:
            Problem: Too many requests are being answered. This one is rejected before its body is read.
        """
        self.require_place()
        place = Place(self)
        try:
            yield place
        finally:
            self.requests -= place.is_taken
            self.bytes -= place.bytes

    def require_place(self) -> None:
        """Check that another request can be answered.

        Raises:
            Problem: Too many are being answered.
        """
        if self.requests >= self._max_requests:
            raise _overloaded(f"{self.requests} requests are being answered")

    def require_bytes(self, size: int) -> None:
        """Check that there is memory for more bytes.

        Raises:
            Problem: There is not.
        """
        if self.bytes + size > self._max_bytes:
            raise _overloaded(f"the requests that are being answered have {self.bytes:,} bytes")


class Place:
    """What a request has taken.

    Attributes:
        bytes: That have arrived.
        is_taken: Whether it is being answered.
    """

    __slots__ = ("_admission", "bytes", "is_taken")

    def __init__(self, admission: Admission) -> None:
        self.bytes, self.is_taken = 0, False
        self._admission = admission

    def receive(self, size: int) -> None:
        """Count bytes of the body.

        Raises:
            Problem: All requests together have too many.
        """
        self._admission.require_bytes(size)
        self._admission.bytes += size
        self.bytes += size

    def take(self) -> None:
        """Start to be answered, now that the body is complete.

        Raises:
            Problem: Too many requests are being answered.
        """
        self._admission.require_place()
        self._admission.requests += 1
        self.is_taken = True


def _overloaded(reason: str) -> Problem:
    return Problem(
        "overloaded", f"{reason}; try again after {RETRY_AFTER} second", {"Retry-After": str(RETRY_AFTER)}
    )
