"""The load of ``visiongate smoke --load``: predictions by several clients for some seconds, none of which may fail.

Each client keeps its connection, as programs and proxies do, and sends its next request when the last one is answered. It
repeats no request: a connection that the service closes under a request, such as in a rolling update, is a failure.
"""

import math
import time
import urllib.parse
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from threading import Thread

# So that a service that is gone is not asked thousands of times a second.
SECONDS_AFTER_FAILURE = 0.05
# In the answer of a prediction, but not on the page of a proxy.
EXPECTED = b'"probabilities"'
SHOWN_REASONS = 3


@dataclass(frozen=True, slots=True)
class Request:
    """What every client sends.

    Attributes:
        url: Of the prediction.
        headers: With the API key.
        body: An image.
        timeout: Seconds until its answer.
    """

    url: str
    headers: Mapping[str, str]
    body: bytes
    timeout: float


@dataclass(slots=True)
class Tally:
    """The requests of one client.

    Attributes:
        seconds: Of each answered request.
        failures: The time since the start of each failed request, in seconds, and the reason.
    """

    seconds: list[float] = field(default_factory=list)
    failures: list[tuple[float, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class LoadResult:
    """All requests.

    Attributes:
        seconds: How long they were sent.
        latencies: Seconds of each answered request, ascending.
        failures: The time since the start of each failed request, in seconds, and the reason; in order of time.
    """

    seconds: float
    latencies: Sequence[float]
    failures: Sequence[tuple[float, str]]

    def summary(self) -> str:
        """Return requests, failures and latency in a line."""
        answered, failed = len(self.latencies), len(self.failures)
        text = f"{answered + failed:,} requests in {self.seconds:.1f} s, {failed:,} failed"
        if answered:
            p50, p99 = (1000 * _percentile(self.latencies, share) for share in (0.5, 0.99))
            text += f"; {answered / self.seconds:,.0f} answers a second, p50 {p50:.0f} ms, p99 {p99:.0f} ms"
        if failed:
            text += f"; the first after {self.failures[0][0]:.1f} s: {self._reasons()}"
        return text

    def _reasons(self) -> str:
        counted = Counter(reason for _, reason in self.failures).most_common()
        shown = [f"{count:,} × {reason}" for reason, count in counted[:SHOWN_REASONS]]
        more = len(counted) - len(shown)
        return ", ".join([*shown, f"{more} other reasons"] if more else shown)


def send_load(request: Request, seconds: float, clients: int) -> LoadResult:
    """Send a request again and again.

    Args:
        request: The request.
        seconds: How long.
        clients: That send at the same time.
    """
    start = time.monotonic()
    tallies = [Tally() for _ in range(clients)]
    threads = [
        Thread(target=_send, args=(request, start, start + seconds, tally), daemon=True) for tally in tallies
    ]
    for thread in threads:
        thread.start()
    # The time-out of a socket is that of each part of an answer only.
    end = start + seconds + request.timeout
    for thread, tally in zip(threads, tallies, strict=True):
        thread.join(max(0.0, end - time.monotonic()))
        if thread.is_alive():
            tally.failures.append((seconds, f"no whole answer in {request.timeout:g} s"))
    # Requests that were on their way at the end are waited for.
    taken = time.monotonic() - start
    latencies = sorted(each for tally in tallies for each in tally.seconds)
    return LoadResult(taken, latencies, sorted(each for tally in tallies for each in tally.failures))


def _send(request: Request, start: float, end: float, tally: Tally) -> None:
    parts = urllib.parse.urlsplit(request.url)
    path = urllib.parse.urlunsplit(("", "", parts.path, parts.query, ""))
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=request.timeout)
    while (begun := time.monotonic()) < end:
        try:
            _ask(connection, path, request)
        except (HTTPException, OSError) as error:
            tally.failures.append((begun - start, _explain(error)))
            connection.close()
            time.sleep(SECONDS_AFTER_FAILURE)
        else:
            tally.seconds.append(time.monotonic() - begun)
    connection.close()


def _ask(connection: HTTPConnection, path: str, request: Request) -> None:
    """Send a request and read its answer. A connection that the last answer has closed is opened again."""
    connection.request("POST", path, request.body, dict(request.headers))
    response = connection.getresponse()
    body = response.read()
    if response.status != HTTPStatus.OK:
        raise HTTPException(f"status {response.status}")
    if EXPECTED not in body:
        raise HTTPException("an answer without probabilities")


def _explain(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest of the ascending values that at least a share of them does not exceed."""
    return values[max(0, math.ceil(share * len(values)) - 1)]
