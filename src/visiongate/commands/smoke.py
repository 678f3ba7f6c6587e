"""``visiongate smoke``: check a running service from outside, such as after a deployment.

It needs the address of the service only, neither its settings nor its model.
"""

import asyncio
import base64
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import TypeAdapter, ValidationError

from visiongate.commands.smoke_load import Request, send_load
from visiongate.errors import SettingsError, VisiongateError
from visiongate.records.example import Example
from visiongate.serving.daemon_threads import call_in_thread
from visiongate.serving.versions.loaded_model import EXAMPLE_TOLERANCE
from visiongate.text_tables import escape_unprintable, shorten

KEY_VARIABLE = "VISIONGATE_API_KEY"
# Of a request.
TIMEOUT_SECONDS = 20.0
MAX_BYTES = 64 * 1024 * 1024
POLL_SECONDS = 0.2
# A canary answers a share of the requests, with probabilities of its own.
ATTEMPTS = 50
MAX_REASON = 300
Answer = TypeVar("Answer")


class CheckError(VisiongateError):
    """The service does not answer as it should."""


class NoAnswerError(CheckError):
    """Nothing answers."""


@dataclass(frozen=True, slots=True)
class Health:
    """The answer of ``GET /health/live`` and others, which the page of a proxy does not have."""

    status: Literal["ok"]


@dataclass(frozen=True, slots=True)
class Model:
    """An entry of ``GET /models``."""

    name: str


@dataclass(frozen=True, slots=True)
class Version:
    """What ``GET /model`` says about the active version."""

    sha256: str
    example: Example | None


@dataclass(frozen=True, slots=True)
class Reference:
    """The model that answered."""

    sha256: str


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer of ``POST /predict``."""

    probabilities: dict[str, float]
    model: Reference


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Has redirects fail: urllib would send the API key to the other host, too."""

    def redirect_request(self, *_: object, **__: object) -> None:
        """Return no request."""


@dataclass(frozen=True, slots=True)
class Client:
    """Sends requests to a service.

    Attributes:
        url: Its address, without a slash at the end.
        key: An API key, or nothing.
    """

    url: str
    key: str

    def headers(self, image: bytes | None) -> dict[str, str]:
        """Return the headers of a request."""
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        return headers | ({"Content-Type": "image/png"} if image else {})

    def request(self, path: str, image: bytes | None = None) -> bytes:
        """Return the body of the answer to ``GET``, or to ``POST`` with a PNG.

        Raises:
            CheckError: The status is not 200, or the answer is too long or too slow.
        """
        headers = self.headers(image)
        request = urllib.request.Request(self.url + path, image, headers)  # noqa: S310 - `run` allows http only
        fetch = partial(_fetch, path, request)
        try:
            return asyncio.run(asyncio.wait_for(call_in_thread(fetch), TIMEOUT_SECONDS))
        except TimeoutError:
            raise NoAnswerError(f"{path}: no whole answer in {TIMEOUT_SECONDS:g} s") from None

    def read(self, kind: type[Answer], path: str, image: bytes | None = None) -> Answer:
        """Return the answer's JSON.

        Raises:
            CheckError: The status is not 200, or a field is missing.
        """
        body = self.request(path, image)
        try:
            return TypeAdapter(kind).validate_json(body)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise CheckError(f"{path}: unexpected answer: {place} {first['msg']}") from None


_OPENER = urllib.request.build_opener(_NoRedirects)


def _fetch(path: str, request: urllib.request.Request) -> bytes:
    try:
        # The time-out is that of each part of the answer only.
        with _OPENER.open(request, timeout=TIMEOUT_SECONDS) as response:
            body: bytes = response.read(MAX_BYTES + 1)
    except urllib.error.HTTPError as error:
        location = error.headers.get("Location")
        text = (
            error.read(MAX_REASON).decode(errors="replace")
            if location is None
            else f"redirects to {location}"
        )
        raise CheckError(f"{path}: status {error.code}: {text}") from None
    except (HTTPException, OSError) as error:
        raise NoAnswerError(f"{path}: {getattr(error, 'reason', error)}") from None
    if len(body) > MAX_BYTES:
        raise CheckError(f"{path}: the answer has more than {MAX_BYTES} bytes")
    return body


def run(url: str, wait: float, key_file: Path | None, load: float, clients: int) -> int:
    """Print a line for each check; return 1 if one failed.

    Args:
        url: Address of the service.
        wait: Seconds to wait until it is ready.
        key_file: File with an API key.
        load: Seconds of predictions after the other checks; 0 for none.
        clients: That send them.

    Raises:
        SettingsError: The address or the file of the key is invalid.
    """
    _check_url(url)
    client = Client(url.rstrip("/"), _read_key(key_file))
    _wait(client, wait)
    checks = _checks(client)
    if load:
        checks["load"] = lambda: _check_load(client, load, clients)
    try:
        # Not `all`, which ends at the first failure.
        passed = [_passes(name, check) for name, check in checks.items()]
    except NoAnswerError:
        return 1
    return 0 if all(passed) else 1


def _check_url(url: str) -> None:
    try:
        parts = urllib.parse.urlsplit(url)
        # It is parsed when it is read.
        _ = parts.port
    except ValueError as error:
        raise SettingsError(f"--url {url}: {error}") from None
    if parts.scheme not in {"http", "https"}:
        raise SettingsError(f"--url {url}: must begin with http:// or https://")
    is_sendable = url.isascii() and url.isprintable() and " " not in url
    if not parts.hostname or parts.username is not None or parts.query or parts.fragment or not is_sendable:
        raise SettingsError(f"--url {url}: must be an address such as http://127.0.0.1:8000")


def _read_key(file: Path | None) -> str:
    if file is None:
        origin, key = KEY_VARIABLE, os.environ.get(KEY_VARIABLE, "")
    else:
        try:
            origin, key = f"--key-file {file}", file.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise SettingsError(f"--key-file {file}: {error.strerror}") from None
    key = key.strip()
    if not (key.isascii() and key.isprintable()):
        raise SettingsError(f"{origin}: has something else than an API key")
    return key


def _wait(client: Client, seconds: float) -> None:
    """Wait until the service is ready, at most that long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            client.request("/health/ready")
        except CheckError:
            time.sleep(POLL_SECONDS)
        else:
            return


def _checks(client: Client) -> dict[str, Callable[[], object]]:
    return {
        "live": lambda: client.read(Health, "/health/live"),
        "startup": lambda: client.read(Health, "/health/startup"),
        "ready": lambda: client.read(Health, "/health/ready"),
        "page": lambda: _find(b"<html", client.request("/")),
        "metrics": lambda: _find(b"visiongate_", client.request("/metrics")),
        "inference protocol": lambda: client.request("/v2/health/ready"),
        "predictions": lambda: _check_predictions(client),
    }


def _passes(name: str, check: Callable[[], object]) -> bool:
    """Make a check, and print its result: what it returns, if that is a text, otherwise its time.

    Raises:
        NoAnswerError: Nothing answers, so that the other checks would fail, too.
    """
    start = time.perf_counter()
    try:
        result = check()
    except CheckError as error:
        print(f"FAILED  {name}: {shorten(escape_unprintable(str(error)), MAX_REASON)}")
        if isinstance(error, NoAnswerError):
            raise
        return False
    shown = result if isinstance(result, str) else f"{1000 * (time.perf_counter() - start):.0f} ms"
    print(f"ok      {name}: {shown}")
    return True


def _find(text: bytes, body: bytes) -> None:
    if text not in body:
        raise CheckError(f"the answer has no {text.decode()}")


def _check_predictions(client: Client) -> None:
    """Compare the answer of each model of the service with that of the registered file."""
    models = client.read(list[Model], "/models")
    if not models:
        raise CheckError("/models: the service has no model")
    for model in models:
        query = urllib.parse.urlencode({"model": model.name})
        sha256, example = _read_example(client, query, model.name)
        actual = _predict(client, f"/predict?{query}", base64.b64decode(example.image), sha256)
        _compare(model.name, example.probabilities, list(actual.values()))


def _read_example(client: Client, query: str, name: str) -> tuple[str, Example]:
    """Return the sha256 of the active version of a model, and the example in its file."""
    version = client.read(Version, f"/model?{query}" if query else "/model")
    if version.example is None:
        raise CheckError(f"{name}: its file has no example; export it again with the `train` stage")
    return version.sha256, version.example


def _check_load(client: Client, seconds: float, clients: int) -> str:
    """Send the example of the default model for some seconds, and return what came of it.

    Raises:
        CheckError: A request failed.
    """
    image = base64.b64decode(_read_example(client, "", "the default model")[1].image)
    request = Request(f"{client.url}/predict", client.headers(image), image, TIMEOUT_SECONDS)
    result = send_load(request, seconds, clients)
    if result.failures or not result.latencies:
        raise CheckError(result.summary())
    return result.summary()


def _predict(client: Client, path: str, image: bytes, sha256: str) -> dict[str, float]:
    """Return the probabilities that a version predicts, in the order of the classes."""
    for _ in range(ATTEMPTS):
        prediction = client.read(Prediction, path, image)
        if prediction.model.sha256 == sha256:
            return prediction.probabilities
    raise CheckError(f"{path}: another version than that of /model answered {ATTEMPTS} times")


def _compare(name: str, expected: Sequence[float], actual: Sequence[float]) -> None:
    if len(expected) != len(actual):
        raise CheckError(f"{name}: {len(actual)} probabilities instead of {len(expected)}")
    difference = max(abs(first - second) for first, second in zip(expected, actual, strict=True))
    # The negated comparison is true for NaN, too.
    if not difference <= EXAMPLE_TOLERANCE:
        raise CheckError(
            f"{name}: its probabilities differ by {difference:.2g} from the registered example's"
        )
