"""The results so far, in parts beside the output, so that an interrupted prediction goes on where it stopped.

A part is a Parquet file that appears complete or not at all. The folder also has the key of the prediction; parts of another
key are removed, because they are of other sources, by another model or have other columns. The results are in the order of the
files, and each has the stamp of its file, so that the results of files that have gone or changed are found and removed.
"""

import logging
import shutil
import time
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from visiongate.errors import DataError
from visiongate.prediction.file_predictor import PATH
from visiongate.prediction.input_files import InputFile
from visiongate.records.files import atomic_path, read_json, write_json
from visiongate.records.parquet import parse_parquet

logger = logging.getLogger(__name__)
# A killed process loses the results of at most so many seconds.
MAX_SECONDS = 10.0
MAX_ROWS = 4096
KEY_FILE, STAMP = "key.json", "stamp"


class Journal:
    """The results of a prediction, in files.

    Args:
        folder: For the parts. It is created when there are results.
        schema: The columns of the results.
        key: What the results depend on besides the files, such as the sha256 of the models.

    While it is open as a context, no other process can write to the folder. At the end, it saves what is only in memory.

    Raises:
        DataError: Another process is writing to the folder, or a part of it is damaged.
    """

    def __init__(self, folder: Path, schema: pa.Schema, key: dict[str, object]) -> None:
        self._folder, self._schema = folder, schema
        self._key = {**key, "columns": [f"{field.name}: {field.type}" for field in schema]}
        self._pending: list[pa.Table] = []
        self._saved = time.monotonic()
        self._lock = FileLock(folder.with_name(f".{folder.name}.lock"))
        self._parts: list[Path] = []
        # Of the files that were handed out and have no result yet.
        self._stamps = deque[str]()

    def __enter__(self) -> Self:
        """Lock the folder, and find the parts of an interrupted prediction."""
        self._acquire()
        try:
            self._parts = self._find_parts()
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Save the results, also after an interruption, and unlock the folder."""
        try:
            self.save()
        finally:
            self._release()

    def skip_done(self, files: Iterable[InputFile]) -> Iterator[InputFile]:
        """Return the files that have no result yet; results from the first file on that is not as it was are removed."""
        remaining = iter(files)
        for row, (path, stamp) in enumerate(self._done()):
            file = next(remaining, None)
            if file is None or (file.path, file.stamp) != (path, stamp):
                logger.warning(
                    "%s: missing or changed since the interrupted run; starting again from there", path
                )
                self._cut(row)
                return self._hand_out(remaining if file is None else chain([file], remaining))
        return self._hand_out(remaining)

    def append(self, results: pa.Table) -> None:
        """Add the results of the next files, and save them once there are enough, or enough time has passed."""
        stamps = pa.array([self._stamps.popleft() for _ in range(results.num_rows)], pa.string())
        self._pending.append(results.append_column(STAMP, stamps))
        rows = sum(table.num_rows for table in self._pending)
        if rows >= MAX_ROWS or time.monotonic() - self._saved >= MAX_SECONDS:
            self.save()

    def save(self) -> None:
        """Save the results that are only in memory."""
        if self._pending:
            if not self._parts:
                write_json(self._folder / KEY_FILE, self._key)
            part = self._folder / f"{len(self._parts):06d}.parquet"
            _write(part, pa.concat_tables(self._pending))
            self._parts.append(part)
            self._pending.clear()
        self._saved = time.monotonic()

    def tables(self) -> Iterator[pa.Table]:
        """Yield the saved results, a part at a time."""
        for part in self._parts:
            yield _read(part, self._schema.names)

    def remove(self) -> None:
        """Remove the results, because the output is complete."""
        self._pending.clear()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _done(self) -> Iterator[tuple[str, str]]:
        """Yield the path and the stamp of each result."""
        for part in self._parts:
            columns = _read(part, [PATH, STAMP])
            yield from zip(columns[PATH].to_pylist(), columns[STAMP].to_pylist(), strict=True)

    def _cut(self, rows: int) -> None:
        """Keep the first results. Parts are removed from the last one, so that those on the disk are always the first."""
        starts = [0]
        for part in self._parts:
            starts.append(starts[-1] + _read(part, [STAMP]).num_rows)
        while self._parts and starts[len(self._parts)] > rows:
            part, start = self._parts.pop(), starts[len(self._parts)]
            if start < rows:
                _write(part, _read(part, [*self._schema.names, STAMP]).slice(0, rows - start))
                self._parts.append(part)
                return
            part.unlink()

    def _hand_out(self, files: Iterable[InputFile]) -> Iterator[InputFile]:
        for file in files:
            self._stamps.append(file.stamp)
            yield file

    def _release(self) -> None:
        self._lock.release()
        Path(self._lock.lock_file).unlink(missing_ok=True)

    def _acquire(self) -> None:
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise DataError(
                f"{self._folder}: another process is writing to it; wait for it, or choose another output"
            ) from None

    def _find_parts(self) -> list[Path]:
        parts = sorted(self._folder.glob("[0-9]*.parquet"))
        if not parts:
            return []
        if _read_key(self._folder / KEY_FILE) == self._key:
            return parts
        logger.warning(
            "%s has results of other sources, by another model or with other options; starting again",
            self._folder,
        )
        shutil.rmtree(self._folder)
        return []


def _write(part: Path, results: pa.Table) -> None:
    with atomic_path(part) as temporary:
        pq.write_table(results, temporary, compression="zstd")


def _read(part: Path, columns: list[str]) -> pa.Table:
    try:
        return parse_parquet(part.read_bytes(), str(part), columns)
    except DataError:
        raise DataError(
            f"{part}: damaged; remove the folder {part.parent} to predict all images again"
        ) from None


def _read_key(path: Path) -> object:
    try:
        return read_json(path)
    except (OSError, ValueError):
        return None
