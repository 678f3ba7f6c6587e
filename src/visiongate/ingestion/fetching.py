"""Bring a data set's files here: by http, s3, gs or file through fsspec, from Kaggle by its own client, or from a mirror.

A download is written beside its place, resumed after an interruption if the remote file is still the same one, and put in place
when it is whole and its checksum is right. Nothing is fetched twice.
"""

import contextlib
import errno
import glob
import io
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit

import fsspec
from dotenv import load_dotenv
from fsspec.spec import AbstractFileSystem
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
    track,
)

from visiongate.errors import DataError
from visiongate.records.files import read_json, sha256_of, write_json
from visiongate.settings.schema import File

KAGGLE = "kaggle"
CHUNK = 4 * 2**20  # bytes a request; what an interruption loses at most
PAUSES = (1.0, 2.0, 4.0)  # seconds before each further try
WORKERS = 16  # files of a folder fetched at a time: small ones wait for answers
KAGGLE_HINT = "set KAGGLE_USERNAME and KAGGLE_KEY, in the environment or in .env (https://www.kaggle.com/settings gives them)"
OFFLINE_HINT = "try again; or give a copy: -S dataset.path=/path/to/it, or VISIONGATE_MIRROR"


@dataclass(frozen=True, slots=True)
class Place:
    """Where files are looked for, and where they are kept."""

    downloads: Path  # this data set's folder
    mirror: str | None  # a directory or URL that takes the place of every host
    root: Path  # of the main workspace, where .env lies
    max_bytes: int  # of one file
    quiet: bool = False  # without a progress bar for each file


@dataclass(frozen=True, slots=True)
class Remote:
    """A remote file as it is now; two that are equal have the same content, as far as the server tells."""

    url: str  # without credentials
    size: int | None  # bytes
    tag: str | None  # ETag or time of modification


def fetch(url: str, files: Mapping[str, File], place: Place) -> dict[str, Path]:
    """Bring files here, or find them here.

    Args:
        url: The address: of one file; of a folder, if it ends with a slash or ``files`` are named; or ``kaggle://owner/dataset``.
        files: What is known of the files wanted, by name; where empty, whatever the address holds.
        place: Where to look and where to keep.

    Returns:
        The files by name, or by path below the address.

    Raises:
        DataError: A file cannot be had, or is not what it should be; nothing but a part to resume from is left behind.
    """
    load_dotenv(place.root / ".env")
    _check_address(url)
    try:
        return _fetch(url, files, place)
    except OSError as error:  # the network's have been explained where they arose
        if error.errno == errno.ENOSPC:
            raise _full_disk(place.downloads) from None
        raise DataError(
            f"{error.filename or place.downloads}: cannot be read or written: {error.strerror}"
        ) from None


def _check_address(url: str) -> None:
    try:
        urlsplit(url)
    except ValueError as error:
        raise DataError(f"dataset.url = {url!r}: {error}") from None


def _fetch(url: str, files: Mapping[str, File], place: Place) -> dict[str, Path]:
    if place.mirror is not None:
        return {name: _fetch_from_mirror(name, files.get(name), place) for name in files or [_name_file(url)]}
    if urlsplit(url).scheme == KAGGLE:
        return {file_name(url): _fetch_from_kaggle(url, place)}
    if files:
        base = url if url.endswith("/") else f"{url}/"
        return {name: _fetch_file(base + name, name, known, place) for name, known in files.items()}
    if url.endswith("/") or _is_folder(url):
        return _fetch_folder(url, place)
    return {_name_file(url): _fetch_file(url, _name_file(url), None, place)}


def file_name(url: str) -> str:
    """Name the file that an address leads to; on Kaggle, a data set is one zip."""
    name = PurePosixPath(unquote(urlsplit(url).path)).name
    return f"{name}.zip" if urlsplit(url).scheme == KAGGLE else name


def _name_file(url: str) -> str:
    name = file_name(url)
    if not name:
        raise DataError(f"{without_credentials(url)}: names no file; for a folder, end it with a slash")
    return name


def without_credentials(url: str) -> str:
    """Leave out what an address may hold of secrets: name and password, and the query, which may be a signature."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


# Mirrors


def _fetch_from_mirror(name: str, known: File | None, place: Place) -> Path:
    mirror = str(place.mirror)
    if "://" not in mirror:
        found = sorted(path for path in Path(mirror).rglob(glob.escape(name)) if path.is_file())
        if not found:
            raise DataError(f"{name}: not in VISIONGATE_MIRROR={mirror}, nor in a folder below")
        _check(found[0], name, known)
        return found[0]
    return _fetch_file(_find_in_mirror(mirror, name), name, known, place)


def _find_in_mirror(mirror: str, name: str) -> str:
    base = mirror if mirror.endswith("/") else f"{mirror}/"
    with contextlib.suppress(Exception):  # a server without listings: the name alone must do
        system, path = fsspec.core.url_to_fs(base)
        found = sorted(
            str(file) for file in system.find(path) if PurePosixPath(unquote(str(file))).name == name
        )
        if found:
            return str(system.unstrip_protocol(found[0]))
    return base + name


# Files and folders


def _is_folder(url: str) -> bool:
    if urlsplit(url).scheme in ("http", "https"):
        return False
    return _retry(url, lambda: _is_directory(url))


def _is_directory(url: str) -> bool:
    system, path = _open_system(url)
    return bool(system.isdir(path))


def _fetch_folder(url: str, place: Place) -> dict[str, Path]:
    system, root = _retry(url, lambda: _open_system(url.rstrip("/") + "/"))
    root = root.rstrip("/") + "/"
    found = _retry(url, lambda: [str(path) for path in system.find(root)])
    names = _name_files(found, root, unquoted="http" in system.protocol)
    if not names:
        raise DataError(f"{without_credentials(url)}: nothing there; is the address right?")
    _check_names(without_credentials(url), names.values())
    _remove_others(place.downloads, set(names.values()))
    quiet = replace(place, quiet=True)
    with ThreadPoolExecutor(WORKERS) as pool:
        fetched = pool.map(
            lambda path: _fetch_file(system.unstrip_protocol(path), names[path], None, quiet), names
        )
        shown = track(fetched, "files", len(names), transient=True, disable=place.quiet or not _is_terminal())
        return dict(zip(names.values(), shown, strict=True))


def _name_files(found: Sequence[str], root: str, *, unquoted: bool) -> dict[str, str]:
    """Name the files below a folder by their paths in it; what only stands for a folder is none.

    A page that lists a folder has its links quoted, and some that sort it. A bucket has no folders, but its consoles and tools
    put an empty object that ends with a slash where one would be.
    """
    if unquoted:
        found = [path for path in found if "?" not in path and "#" not in path]
    names = {
        path: path.removeprefix(root) for path in found if path.startswith(root) and not path.endswith("/")
    }
    return {path: unquote(name) for path, name in names.items()} if unquoted else names


def _check_names(address: str, names: Iterable[str]) -> None:
    for name in names:
        if {"", ".", ".."} & set(name.split("/")) or "\\" in name or "\0" in name:
            raise DataError(f"{address}: {name!r}: a path that could lead elsewhere: it is refused")


def _remove_others(folder: Path, names: set[str]) -> None:
    """Remove what the remote folder has no longer."""
    for path in folder.rglob("*"):
        if (
            path.is_file()
            and not path.name.startswith(".")
            and path.relative_to(folder).as_posix() not in names
        ):
            path.unlink()


def _fetch_file(url: str, name: str, known: File | None, place: Place) -> Path:
    target = place.downloads / name
    if known is not None and known.sha256 and target.exists() and sha256_of(target) == known.sha256:
        return target
    remote = _retry(url, lambda: _look_up(url))
    sidecar = target.with_name(f".{target.name}.json")
    if target.exists() and _read_remote(sidecar) == remote and remote.tag is not None:
        return target
    part = target.with_name(f".{target.name}.part")
    target.parent.mkdir(parents=True, exist_ok=True)
    with _show_progress(name, remote.size, quiet=place.quiet) as show:
        _retry(url, lambda: _download(url, remote, part, place.max_bytes, show))
    try:
        _check(part, name, known)
    except DataError:
        part.unlink()
        raise
    part.replace(target)
    write_json(sidecar, asdict(remote))
    _part_sidecar(part).unlink(missing_ok=True)
    return target


def _check(path: Path, name: str, known: File | None) -> None:
    size = path.stat().st_size
    if known is not None and known.size not in (None, size):
        raise DataError(
            f"{name}: {size:,} bytes, expected {known.size:,}: the publisher changed it, or it was cut short"
        )
    found = sha256_of(path) if known is not None and known.sha256 else None
    if known is not None and found != known.sha256:
        raise DataError(
            f"{name}: its sha256 is {found}, expected {known.sha256}: the publisher changed it, or somebody tampered with it"
        )


def _open_system(url: str) -> tuple[AbstractFileSystem, str]:
    system, path = fsspec.core.url_to_fs(url)
    return system, str(path)


def _look_up(url: str) -> Remote:
    system, path = _open_system(url)
    system.invalidate_cache()
    info: dict[str, Any] = system.info(path)
    tag = next(
        (info[key] for key in ("ETag", "etag", "Last-Modified", "LastModified", "mtime") if info.get(key)),
        None,
    )
    return Remote(without_credentials(url), info.get("size"), None if tag is None else str(tag))


def _read_remote(sidecar: Path) -> Remote | None:
    try:
        return Remote(**read_json(sidecar))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _part_sidecar(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _download(url: str, remote: Remote, part: Path, max_bytes: int, show: Callable[[int], None]) -> None:
    """Write the rest of a file to its part, and show how much of it is there."""
    resumable = remote.tag is not None and _read_remote(_part_sidecar(part)) == remote and part.exists()
    if not resumable:
        part.unlink(missing_ok=True)
        write_json(_part_sidecar(part), asdict(remote))
    done = part.stat().st_size if part.exists() else 0
    _check_length(remote.size or 0, remote, max_bytes)
    _check_space(part, remote, done)
    try:
        with part.open("ab") as target:
            for chunk in _read_chunks(url, remote, target):
                target.write(chunk)
                _check_length(target.tell(), remote, max_bytes)
                show(target.tell())
    except (OSError, DataError) as error:
        if isinstance(error, DataError) or error.errno == errno.ENOSPC:
            part.unlink()
            _part_sidecar(part).unlink()
        raise
    if remote.size is not None and part.stat().st_size != remote.size:
        raise ConnectionError(f"{part.stat().st_size:,} bytes of {remote.size:,} came")


def _read_chunks(url: str, remote: Remote, target: io.BufferedWriter) -> Iterator[bytes]:
    """Yield what is missing in the target; all, the target emptied, from a server that knows no ranges or tells no size."""
    system, path = _open_system(url)
    start = target.tell()
    if remote.size is not None:
        try:
            with system.open(path, "rb", block_size=CHUNK, cache_type="none") as source:
                source.seek(start)
                while start < remote.size and (chunk := source.read(min(CHUNK, remote.size - start))):
                    yield chunk
                    start += len(chunk)
        except ValueError:  # fsspec's answer to a server that ignored the range
            pass
        else:
            return
    # Read from the start: what an earlier try has brought would come twice.
    target.seek(0)
    target.truncate()
    options = {"block_size": 0} if "http" in system.protocol or "https" in system.protocol else {}
    with system.open(path, "rb", **options) as source:
        while chunk := source.read(CHUNK):
            yield chunk


def _check_length(length: int, remote: Remote, max_bytes: int) -> None:
    """Refuse what has no end, or more than is allowed."""
    if length > max_bytes:
        raise DataError(
            f"{remote.url}: {length:,} bytes or more, over dataset.limits.max_total_bytes = {max_bytes:,}: "
            "raise it if you trust the source"
        )


def _check_space(part: Path, remote: Remote, done: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if remote.size is not None and remote.size - done > free:
        raise DataError(
            f"{part.parent}: {free:,} bytes are free, {remote.size - done:,} are needed: free some space and run again"
        )


# Kaggle


def _fetch_from_kaggle(url: str, place: Place) -> Path:
    parts = urlsplit(url)
    slug = f"{parts.netloc}/{parts.path.strip('/')}"
    if not re.fullmatch(r"[\w-]+/[\w-]+", slug):
        raise DataError(f"{url}: not kaggle://OWNER/DATASET, as in the address of a data set's page")
    target = place.downloads / file_name(url)
    sidecar = target.with_name(f".{target.name}.json")
    remote = Remote(url, None, None)
    if target.exists() and _read_remote(sidecar) == replace(remote, size=target.stat().st_size):
        return target
    api = _open_kaggle(url)
    place.downloads.mkdir(parents=True, exist_ok=True)
    try:
        api.dataset_download_files(slug, path=str(place.downloads), quiet=not _is_terminal(), unzip=False)
    except OSError as error:  # requests' errors are among them
        raise _explain_kaggle(url, error, target) from None
    write_json(sidecar, asdict(replace(remote, size=target.stat().st_size)))
    return target


def _open_kaggle(url: str) -> Any:  # noqa: ANN401 - a package without types
    said = io.StringIO()
    try:
        # Importing it already looks for credentials, and tells a page of advice when there are none.
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            from kaggle.api.kaggle_api_extended import KaggleApi  # noqa: PLC0415 - takes a second, for Kaggle alone

            api = KaggleApi()
            api.authenticate()
    except (SystemExit, OSError, ValueError):
        raise DataError(f"{url}: Kaggle asks for an account: {KAGGLE_HINT}") from None
    return api


def _explain_kaggle(url: str, error: OSError, target: Path) -> DataError:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return DataError(f"{url}: Kaggle refuses these credentials (status {status}): {KAGGLE_HINT}")
    if status == HTTP_NOT_FOUND:
        return DataError(f"{url}: Kaggle has no such data set: is its name OWNER/DATASET as in its address?")
    if error.errno == errno.ENOSPC:
        target.unlink(missing_ok=True)
        return _full_disk(target.parent)
    return DataError(f"{url}: {_one_line(error)}: {OFFLINE_HINT}")


# What goes wrong

Result = TypeVar("Result")
HTTP_NOT_FOUND = 404
HTTP_CLIENT_ERRORS = range(400, 500)


def _retry(url: str, action: Callable[[], Result]) -> Result:
    """Do something over the network, again after a pause if that may help.

    Raises:
        DataError: It did not, or cannot.
    """
    for pause in PAUSES:
        try:
            with _explaining(url):
                return action()
        except _PassingError as error:
            print(f"ingestion: {error}; trying again in {pause:g} s", file=sys.stderr)
            time.sleep(pause)
    try:
        with _explaining(url):
            return action()
    except _PassingError as error:
        raise DataError(f"{error}: {OFFLINE_HINT}") from None


class _PassingError(Exception):
    """What may be over in a moment."""


@contextlib.contextmanager
def _explaining(url: str) -> Iterator[None]:
    """Turn what fsspec and the libraries under it raise into one line."""
    address = without_credentials(url)
    try:
        yield
    except DataError:
        raise
    except (ImportError, ValueError) as error:  # a library or a protocol that is not there
        raise DataError(f"{address}: {_one_line(error)}") from None
    except Exception as error:  # noqa: BLE001 - of as many kinds as there are protocols
        raise _explain(address, error) from None


def _explain(address: str, error: Exception) -> Exception:
    chain = [error, *filter(None, (error.__cause__, error.__context__))]
    statuses = [status for link in chain if isinstance(status := getattr(link, "status", None), int)]
    status = statuses[0] if statuses else None
    if getattr(error, "errno", None) == errno.ENOSPC:
        return _full_disk(Path("data"))
    if status in (401, 403) or isinstance(error, PermissionError):
        return DataError(f"{address}: access refused: are there credentials for it, and may they read it?")
    if "Credentials" in type(error).__name__:
        return DataError(
            f"{address}: no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run `aws configure`"
        )
    if status == HTTP_NOT_FOUND or (isinstance(error, FileNotFoundError) and error.__cause__ is None):
        return DataError(f"{address}: there is no such file; is the address right?")
    if status is not None and status in HTTP_CLIENT_ERRORS:
        return DataError(f"{address}: the server answers {status}")
    reason = error.__cause__ or error
    return _PassingError(f"{address}: {_one_line(reason)}")


def _full_disk(folder: Path) -> DataError:
    return DataError(f"{folder}: the disk is full: free some space and run again")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _is_terminal() -> bool:
    return sys.stderr.isatty()


@contextlib.contextmanager
def _show_progress(name: str, size: int | None, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, transient=True, disable=quiet or not _is_terminal()) as progress:
        task = progress.add_task(name, total=size)
        yield lambda done: progress.update(task, completed=done)
