"""Accept no more than can be answered in time: a bound on requests and on their bytes."""

from collections.abc import Iterator
from contextlib import contextmanager

from visiongate.serving.problems import Problem

# After which a rejected client may try again, in seconds.
RETRY_AFTER = 1


class Admission:
    """Counts the requests with images, in the event loop.

    Args:
        max_requests: At a time.
        max_bytes: Of all of them.
    """

    def __init__(self, max_requests: int, max_bytes: int) -> None:
        self._max_requests, self._max_bytes = max_requests, max_bytes
        self.requests = 0
        self.bytes = 0

    @contextmanager
    def admit(self, size: int) -> Iterator[None]:
        """Hold a place for a request.

        Args:
            size: Bytes that it may have.

        Raises:
            Problem: Too many requests or bytes are being processed.
        """
        if self.requests >= self._max_requests or (self.requests and self.bytes + size > self._max_bytes):
            raise Problem(
                "overloaded",
                f"{self.requests} requests are being processed; try again after {RETRY_AFTER} second",
                headers={"Retry-After": str(RETRY_AFTER)},
            )
        self.requests += 1
        self.bytes += size
        try:
            yield
        finally:
            self.requests -= 1
            self.bytes -= size
