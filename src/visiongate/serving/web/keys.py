"""API keys: who may use the service.

The service knows the SHA-256 of each key only. A slow hash protects passwords, which people choose. These keys have 256 random
bits, which nobody can guess, and a slow hash would be computed for each request.
"""

import asyncio
import hashlib
import hmac
import logging
import os
import re
import secrets
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from visiongate.errors import SettingsError
from visiongate.serving.daemon_threads import call_in_thread

# Scanners for leaked secrets recognize a prefix.
PREFIX: Final = "vg_"
KEY_BYTES: Final = 32
ADMIN: Final = "admin"
MAX_FILE_CHARACTERS: Final = 1_000_000
SECONDS_BETWEEN_LOOKS: Final = 1.0
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_LINE: Final = re.compile(rf"({_NAME.pattern}):([0-9a-f]{{64}})(:{ADMIN})?")
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key, without the key.

    Attributes:
        name: For the log.
        sha256: In hexadecimal digits.
        is_admin: Whether it may exchange versions.
    """

    name: str
    sha256: str
    is_admin: bool

    @property
    def line(self) -> str:
        """The line for ``serving.keys_file``."""
        return f"{self.name}:{self.sha256}{f':{ADMIN}' if self.is_admin else ''}"


class ApiKeys:
    """The keys in the settings and in a file.

    Args:
        lines: Of the setting ``serving.keys``.
        file: The setting ``serving.keys_file``.

    Raises:
        SettingsError: A line is invalid, or the file cannot be read.
    """

    def __init__(self, lines: Sequence[str], file: str | None) -> None:
        self._given = parse_keys(lines, "serving.keys")
        self._file = None if file is None else Path(file)
        self._from_file: list[ApiKey] = []
        self._signature: object = None
        if self._file is not None:
            self._signature = _sign(self._file)
            self._from_file = _read(self._file)

    @property
    def are_required(self) -> bool:
        """Whether requests need a key, even if the file is empty."""
        return bool(self._given) or self._file is not None

    def find(self, secret: str) -> ApiKey | None:
        """Return the key that a request has, in a time that does not depend on how much of it is right."""
        sha256 = digest(secret)
        found = None
        for key in (*self._given, *self._from_file):
            if hmac.compare_digest(key.sha256, sha256):
                found = key
        return found

    async def watch(self) -> None:
        """Read the file again when it changes, until the task is canceled.

        A network file system may not answer. Requests and the end of the process do not wait for it.
        """
        while self._file is not None:
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
            try:
                await call_in_thread(self.refresh)
            except Exception:
                # Nothing but its end may end the watch, such as a system without a further thread.
                logger.exception("Reading the API keys failed")

    def refresh(self) -> None:
        """Read the file if it has changed. If that fails, the keys stay, and the log has one warning."""
        if self._file is not None:
            self._refresh(self._file)

    def _refresh(self, file: Path) -> None:
        signature = _sign(file)
        if signature == self._signature:
            return
        self._signature = signature
        try:
            self._from_file = _read(file)
        except SettingsError as error:
            logger.warning("%s; the keys that were read before stay valid", error)
        else:
            logger.info("%s: %d keys were read", file, len(self._from_file))


def make_key(name: str, *, is_admin: bool) -> tuple[str, ApiKey]:
    """Return a new secret, and what the service keeps of it.

    Raises:
        SettingsError: The name is invalid.
    """
    if not _NAME.fullmatch(name):
        raise SettingsError(f"NAME = {name!r} is invalid: use letters, digits, `_`, `.` and `-`")
    secret = PREFIX + secrets.token_urlsafe(KEY_BYTES)
    return secret, ApiKey(name, digest(secret), is_admin)


def digest(secret: str) -> str:
    """Return the SHA-256 of a key, in hexadecimal digits."""
    return hashlib.sha256(secret.encode(errors="surrogateescape")).hexdigest()


def parse_keys(lines: Iterable[str], source: str) -> list[ApiKey]:
    """Return the keys in some lines; empty ones and comments have none.

    Raises:
        SettingsError: A line is invalid. The message does not repeat it, because it may have a key by mistake.
    """
    keys = []
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        match = _LINE.fullmatch(text)
        if match is None:
            raise SettingsError(
                f"{source}: line {number} is invalid: must be NAME:SHA256 or NAME:SHA256:{ADMIN}, as "
                "`visiongate serve-key NAME` prints it"
            )
        keys.append(ApiKey(match[1], match[2], match[3] is not None))
    return keys


def _sign(file: Path) -> tuple[int, ...] | None:
    """Return what differs when the file changes; None if it is missing."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _open(path: str, flags: int) -> int:
    """Open a file; a pipe would otherwise wait for its writer."""
    return os.open(path, flags | os.O_NONBLOCK)


def _read(file: Path) -> list[ApiKey]:
    try:
        with open(file, encoding="utf-8", opener=_open) as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise SettingsError(f"{file}: the API keys cannot be read: not a regular file")
            text = stream.read(MAX_FILE_CHARACTERS + 1)
    except OSError as error:
        raise SettingsError(f"{file}: the API keys cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{file}: the API keys cannot be read: not a text file") from None
    if len(text) > MAX_FILE_CHARACTERS:
        raise SettingsError(
            f"{file}: the API keys cannot be read: more than {MAX_FILE_CHARACTERS} characters"
        )
    return parse_keys(text.splitlines(), str(file))
