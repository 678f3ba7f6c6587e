"""Download a file over any protocol of fsspec: with retries, resuming, a size limit and a checksum."""

import errno
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import fsspec
from fsspec.spec import AbstractFileSystem
from rich.progress import DownloadColumn, Progress, TransferSpeedColumn

from visiongate.errors import DataError
from visiongate.ingestion.limits import ADVICE
from visiongate.records.files import sha256_of, write_json
from visiongate.records.json_record import read_record
from visiongate.settings.dataset import PublishedFile

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

# Bytes per request. An interruption loses at most one chunk.
CHUNK = 4 * 2**20
# Seconds before each retry.
RETRY_DELAYS = (1.0, 2.0, 4.0)
DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
HTTP_NOT_FOUND = 404
OFFLINE_HINT = "try again later, or use a copy: -S dataset.path=PATH, or VISIONGATE_MIRROR"
# Keys of fsspec's file information that identify a version, by protocol.
VERSION_KEYS = ("ETag", "etag", "Last-Modified", "LastModified", "mtime")


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """The current version of a remote file.

    Attributes:
        url: URL without credentials.
        size: Bytes; None if the server does not state it.
        version: ETag or modification time; None if the server states neither.
    """

    url: str
    size: int | None
    version: str | None


def download_file(
    url: str, target: Path, expected: PublishedFile | None, max_bytes: int, *, show_progress: bool = True
) -> Path:
    """Download a file, unless the target has the expected checksum or the server still has the same version.

    The partial file and the version lie beside the target as ``.NAME.part`` and ``.NAME.json``, so that an interrupted download
    of the same version can be resumed.

    Args:
        url: The file's URL.
        target: Where to put the file.
        expected: The expected size and checksum, if known.
        max_bytes: Largest allowed size.
        show_progress: Whether to show a progress bar.

    Returns:
        The target.

    Raises:
        DataError: The download fails, or the file is too large or has another size or checksum than expected.
    """
    if expected is not None and expected.sha256 and target.exists() and sha256_of(target) == expected.sha256:
        return target
    remote = with_retries(url, lambda: _inspect(url))
    sidecar, part = target.with_name(f".{target.name}.json"), target.with_name(f".{target.name}.part")
    same_version = remote.version is not None and _read_sidecar(sidecar) == remote
    if same_version and target.exists() and not (expected and expected.sha256):
        return target
    # From here on the sidecar describes the partial file.
    for stale in [target] if same_version else [target, part]:
        stale.unlink(missing_ok=True)
    write_json(sidecar, asdict(remote))
    with _progress_bar(target.name, remote.size, visible=show_progress) as show:
        with_retries(url, lambda: _download(url, remote, part, max_bytes, show))
    try:
        check_file(part, target.name, expected)
    except DataError:
        part.unlink()
        raise
    return part.replace(target)


def check_file(path: Path, name: str, expected: PublishedFile | None) -> None:
    """Compare a file with its expected size and checksum.

    Raises:
        DataError: They differ.
    """
    if expected is None:
        return
    size = path.stat().st_size
    if expected.size not in (None, size):
        raise DataError(
            f"{name}: {size:,} bytes instead of {expected.size:,}; the publisher changed it or the copy is incomplete"
        )
    if expected.sha256 and sha256_of(path) != expected.sha256:
        raise DataError(
            f"{name}: sha256 is {sha256_of(path)} instead of {expected.sha256}; "
            "the publisher changed it or it was tampered with"
        )


def open_file_system(url: str) -> tuple[AbstractFileSystem, str]:
    """Return fsspec's file system for a URL, and the path in it."""
    system, path = fsspec.core.url_to_fs(url)
    return system, str(path)


def without_credentials(url: str) -> str:
    """Remove user name, password and query, which may hold a signature, from a URL."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def with_retries(url: str, action: Callable[[], Result]) -> Result:
    """Call a function that uses the network; retry after errors that may be temporary.

    Raises:
        DataError: The error is permanent, or all retries failed.
    """
    address = without_credentials(url)
    for delay in (*RETRY_DELAYS, None):
        try:
            return action()
        except DataError:
            raise
        except Exception as error:
            if getattr(error, "errno", None) in DISK_FULL:
                raise
            problem = _describe_permanent(error)
            if problem is not None:
                raise DataError(f"{address}: {problem}") from None
            message = one_line(error.__cause__ or error)
            if delay is None:
                raise DataError(f"{address}: {message}; {OFFLINE_HINT}") from None
            logger.warning("%s: %s; retrying in %g s", address, message, delay)
            time.sleep(delay)
    raise AssertionError("unreachable: the last attempt returns or raises")


def one_line(error: BaseException) -> str:
    """Return an error's message on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _describe_permanent(error: Exception) -> str | None:
    """Describe an error that a retry cannot fix; None for others."""
    chain = (error, error.__cause__, error.__context__)
    status = next((code for link in chain if isinstance(code := getattr(link, "status", None), int)), 0)
    if status in (401, 403) or isinstance(error, PermissionError):
        return "access denied; check the credentials and their permissions"
    if "Credentials" in type(error).__name__:
        return "no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run `aws configure`"
    # fsspec also raises FileNotFoundError, with a cause, if it cannot connect.
    if status == HTTP_NOT_FOUND or (isinstance(error, FileNotFoundError) and error.__cause__ is None):
        return "no such file; check the address"
    # A package for the protocol is missing, or the protocol is unknown.
    if isinstance(error, ImportError | ValueError):
        return one_line(error)
    return f"the server responds with status {status}" if 400 <= status < 500 else None  # noqa: PLR2004 - client errors


def _inspect(url: str) -> RemoteFile:
    system, path = open_file_system(url)
    system.invalidate_cache()
    info: dict[str, Any] = system.info(path)
    version = next((str(info[key]) for key in VERSION_KEYS if info.get(key)), None)
    return RemoteFile(without_credentials(url), info.get("size"), version)


def _read_sidecar(path: Path) -> RemoteFile | None:
    try:
        return read_record(path, RemoteFile)
    except DataError:
        return None


def _download(url: str, remote: RemoteFile, part: Path, max_bytes: int, show: Callable[[int], None]) -> None:
    """Append the missing bytes to a partial file."""
    _check_size(remote, remote.size or 0, max_bytes)
    part.parent.mkdir(parents=True, exist_ok=True)
    with part.open("ab") as file:
        for chunk in _read_chunks(url, remote, file):
            file.write(chunk)
            try:
                _check_size(remote, file.tell(), max_bytes)
            except DataError:
                part.unlink()
                raise
            show(file.tell())
    size = part.stat().st_size
    if remote.size not in (None, size):
        raise ConnectionError(f"received {size:,} of {remote.size:,} bytes")


def _read_chunks(url: str, remote: RemoteFile, file: IO[bytes]) -> Iterator[bytes]:
    """Yield the bytes that a partial file lacks; truncate it first if the server does not support ranges."""
    system, path = open_file_system(url)
    start = file.tell()
    if remote.size is not None:
        try:
            with system.open(path, "rb", block_size=CHUNK, cache_type="none") as source:
                source.seek(start)
                while start < remote.size and (chunk := source.read(min(CHUNK, remote.size - start))):
                    yield chunk
                    start += len(chunk)
        except ValueError:
            # fsspec raises it if the server ignores a range.
            pass
        else:
            return
    file.seek(0)
    file.truncate()
    is_http = "http" in system.protocol
    with system.open(path, "rb", **({"block_size": 0} if is_http else {})) as source:
        while chunk := source.read(CHUNK):
            yield chunk


def _check_size(remote: RemoteFile, size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise DataError(
            f"{remote.url}: {size:,} bytes or more, over dataset.limits.max_total_bytes = {max_bytes:,}; {ADVICE}"
        )


@contextmanager
def _progress_bar(name: str, size: int | None, *, visible: bool) -> Iterator[Callable[[int], None]]:
    columns = (*Progress.get_default_columns(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, transient=True, disable=not (visible and sys.stderr.isatty())) as progress:
        task = progress.add_task(name, total=size)
        yield lambda done: progress.update(task, completed=done)
