"""The files to predict, one at a time: of folders and archives on this machine."""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from visiongate.errors import DataError
from visiongate.ingestion.archives import open_archive
from visiongate.ingestion.trees import is_hidden
from visiongate.settings.dataset import Dataset, Limits


@dataclass(frozen=True, slots=True)
class InputFile:
    r"""A file to predict.

    Attributes:
        path: The path or address in the results. Bytes that are not UTF-8 are written ``\xNN``.
        size: Bytes; 0 if unknown.
        read: Returns the content; raises `DataError` or `OSError` if it cannot be read. It can be sent to another process.
        is_remote: Whether reading it is slow and needs no core.
        stamp: Changes with the file on this machine, or the archive that it is in; empty for other files.
    """

    path: str
    size: int
    read: Callable[[], bytes]
    is_remote: bool = False
    stamp: str = ""


@dataclass(frozen=True, slots=True)
class Content:
    """What was read before."""

    value: bytes

    def __call__(self) -> bytes:
        """Return it."""
        return self.value


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a file cannot be read."""

    error: OSError | DataError

    def __call__(self) -> bytes:
        """Raise it."""
        raise self.error


def show_path(path: Path | str) -> str:
    """Return a path or address as it is in the results."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def unreadable(path: str, reason: str | OSError | DataError) -> InputFile:
    """Return a file that cannot be read."""
    return InputFile(path, 0, Failure(DataError(reason) if isinstance(reason, str) else reason))


def local_file(path: Path, limits: Limits, shown: str | None = None) -> InputFile:
    """Return a file on this machine.

    Args:
        path: The file, which need not exist.
        limits: The limit on the size of a file.
        shown: The path in the results, by default the file's.
    """
    name = shown or show_path(path)
    try:
        status = path.stat()
    except OSError as error:
        return unreadable(name, error)
    except ValueError as error:
        # A null byte in a line of a list.
        return unreadable(name, str(error))
    if not stat.S_ISREG(status.st_mode):
        return unreadable(name, "not a regular file")
    if status.st_size > limits.max_file_bytes:
        limit = f"dataset.limits.max_file_bytes = {limits.max_file_bytes:,}"
        return unreadable(name, f"{status.st_size:,} bytes, more than {limit}")
    return InputFile(name, status.st_size, path.read_bytes, stamp=_stamp(status))


def walk_files(folder: Path, limits: Limits, ancestors: frozenset[str] = frozenset()) -> Iterator[InputFile]:
    """Yield the files below a folder in the order of their paths. Hidden ones are left out, and links are followed.

    Args:
        folder: The folder.
        limits: The limit on the size of a file.
        ancestors: The folders above it, without links.
    """
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name + "/" * _is_folder(entry))
    except OSError as error:
        yield unreadable(show_path(folder), error)
        return
    above = ancestors | {os.path.realpath(folder)}
    for entry in entries:
        path = folder / entry.name
        if is_hidden(entry.name):
            continue
        if not _is_folder(entry):
            yield local_file(path, limits)
        elif os.path.realpath(path) in above:
            yield unreadable(show_path(path), "a link that leads in a circle")
        else:
            yield from walk_files(path, limits, above)


def read_archive(path: Path, shown: str, dataset: Dataset) -> Iterator[InputFile]:
    """Yield the files in an archive in the order of their paths; the archive itself if it cannot be read.

    Args:
        path: The archive.
        shown: Its path in the results.
        dataset: The limits, and the encoding of names.
    """
    try:
        # The name of a downloaded archive is that of its address, and its time is that of the download.
        stamp = _stamp(path.stat()) if shown == show_path(path) else ""
        with open_archive(path, dataset, is_hidden) as archive:
            for inner in sorted(archive.sizes):
                if not is_hidden(inner):
                    file = InputFile(f"{shown}/{inner}", 0, lambda inner=inner: archive.read(inner))  # type: ignore[misc]
                    yield replace(load(file), stamp=stamp)
    except (DataError, OSError) as error:
        yield unreadable(shown, error)


def load(file: InputFile) -> InputFile:
    """Read a file now; return it with its content in memory, or with the error."""
    try:
        content = file.read()
    except (DataError, OSError) as error:
        return unreadable(file.path, error)
    return InputFile(file.path, len(content), Content(content))


def _stamp(status: os.stat_result) -> str:
    return f"{status.st_size} bytes at {status.st_mtime_ns} ns"


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    # Links in a circle raise.
    with suppress(OSError):
        return entry.is_dir()
    return False
