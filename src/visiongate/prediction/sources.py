"""The sources of a prediction: files, folders, archives, addresses, patterns, and lists of these."""

import glob
import re
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from visiongate.errors import DataError
from visiongate.ingestion.archives import is_archive
from visiongate.ingestion.download import download_file, with_retries, without_credentials
from visiongate.ingestion.fetching import WORKERS, file_name, is_folder, list_folder
from visiongate.ingestion.trees import ARCHIVE_EXTENSIONS, is_hidden
from visiongate.prediction.input_files import (
    InputFile,
    load,
    local_file,
    read_archive,
    show_path,
    unreadable,
    walk_files,
)
from visiongate.settings.dataset import Dataset, Limits
from visiongate.text_tables import join_first

# The source that stands for the lines of the standard input.
STANDARD_INPUT = "-"
TEMPORARY = "visiongate-predict-"
MAX_SHOWN = 3
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Sources:
    """What to predict.

    Attributes:
        names: Paths, addresses and patterns, or `STANDARD_INPUT`.
        lines: The lines of the standard input, read when they are needed.
        dataset: The limits, and the encoding of names in archives.
    """

    names: Sequence[str]
    lines: Iterable[str]
    dataset: Dataset

    def check(self) -> None:
        """Check that the named files and folders exist, before anything is predicted.

        Raises:
            DataError: They do not, a name is empty, or nothing matches a pattern.
        """
        if "" in self.names:
            raise DataError(
                "an empty name is no source; is a variable of the command empty? '.' names this folder"
            )
        missing = [name for name in self.names if not _is_address(name) and not self._exists(name)]
        if missing:
            raise DataError(
                f"{join_first(missing, MAX_SHOWN)}: no such file or folder; name files, folders, archives, addresses or "
                "patterns"
            )

    def files(self) -> Iterator[InputFile]:
        """Yield the files, in the order of the sources and of the paths below each.

        Of addresses, archives are downloaded when they are reached, and other files when they are read.
        """
        return (file for name in self.names for file in self._expand(name))

    def count(self) -> int | None:
        """Return the number of files; None if it is not known before they are read."""
        for name in self.names:
            if (
                name == STANDARD_INPUT
                or _is_address(name)
                or (Path(name).is_file() and is_archive(Path(name)))
            ):
                return None
        return sum(1 for _ in self.files())

    @staticmethod
    def _exists(name: str) -> bool:
        path = Path(name)
        is_matched = glob.has_magic(name) and any(True for _ in glob.iglob(name, recursive=True))  # noqa: PTH207 - takes absolute patterns, too
        return name == STANDARD_INPUT or path.exists() or path.is_symlink() or is_matched

    def _expand(self, name: str) -> Iterator[InputFile]:
        path = Path(name)
        if name == STANDARD_INPUT:
            for line in self.lines:
                if text := line.rstrip("\r\n"):
                    yield from self._expand_one(text)
        elif not path.exists() and glob.has_magic(name) and not _is_address(name):
            for match in sorted(glob.glob(name, recursive=True)):  # noqa: PTH207
                # With **, the files below a folder match, too.
                if "**" not in name or not Path(match).is_dir():
                    yield from self._expand_one(match)
        else:
            yield from self._expand_one(name)

    def _expand_one(self, name: str) -> Iterator[InputFile]:
        path, limits = Path(name), self.dataset.limits
        if _is_address(name):
            yield from self._expand_address(name)
        elif path.is_dir():
            yield from walk_files(path, limits)
        elif path.is_file() and _starts_like_archive(path):
            yield from read_archive(path, show_path(path), self.dataset)
        else:
            yield local_file(path, limits)

    def _expand_address(self, url: str) -> Iterator[InputFile]:
        shown, limits = show_path(without_credentials(url)), self.dataset.limits
        try:
            if file_name(url).lower().endswith(ARCHIVE_EXTENSIONS):
                with tempfile.TemporaryDirectory(prefix=TEMPORARY) as folder:
                    archive = download_file(url, Path(folder, file_name(url)), None, limits.max_total_bytes)
                    yield from read_archive(archive, shown, self.dataset)
                return
            is_file = bool(PurePosixPath(file_name(url)).suffix)
            if url.endswith("/") or (not is_file and is_folder(url)):
                base = f"{url.rstrip('/')}/"
                for inner, address in sorted(with_retries(base, partial(list_folder, base)).items()):
                    if not is_hidden(inner):
                        yield _remote_file(address, f"{without_credentials(base)}{inner}", limits)
            else:
                yield _remote_file(url, shown, limits)
        except (DataError, OSError) as error:
            yield unreadable(shown, error)


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """Reads a file at an address.

    Attributes:
        url: The address.
        limits: The limits on its size.
    """

    url: str
    limits: Limits

    def __call__(self) -> bytes:
        """Download the file and return its content."""
        with tempfile.TemporaryDirectory(prefix=TEMPORARY) as folder:
            limit = self.limits.max_total_bytes
            path = download_file(self.url, Path(folder, "file"), None, limit, show_progress=False)
            return local_file(path, self.limits).read()


def read_ahead(files: Iterable[InputFile]) -> Iterator[InputFile]:
    """Read the remote files in threads, a few ahead of time; yield all files in order."""
    pending: deque[InputFile | Future[InputFile]] = deque()
    with ThreadPoolExecutor(WORKERS) as pool:
        try:
            for file in files:
                pending.append(pool.submit(load, file) if file.is_remote else file)
                while pending and (len(pending) > WORKERS or isinstance(pending[0], InputFile)):
                    yield _result(pending.popleft())
            while pending:
                yield _result(pending.popleft())
        finally:
            for waiting in pending:
                if isinstance(waiting, Future):
                    waiting.cancel()


def _remote_file(url: str, shown: str, limits: Limits) -> InputFile:
    return InputFile(shown, 0, RemoteFile(url, limits), is_remote=True)


def _result(file: "InputFile | Future[InputFile]") -> InputFile:
    return file.result() if isinstance(file, Future) else file


def _is_address(name: str) -> bool:
    return _ADDRESS.match(name) is not None


def _starts_like_archive(path: Path) -> bool:
    try:
        return is_archive(path)
    except OSError:
        # Reported when it is read.
        return False
