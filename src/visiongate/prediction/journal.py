"""The results so far, in parts beside the output, so that an interrupted prediction goes on where it stopped.

A part is a Parquet file that appears complete or not at all. The folder also has the key of the prediction; parts of another
key are removed, because they have other columns or are by another model.
"""

import logging
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from visiongate.errors import DataError
from visiongate.prediction.engine import PATH
from visiongate.prediction.input_files import InputFile
from visiongate.records.files import atomic_path, read_json, write_json
from visiongate.records.parquet import parse_parquet

logger = logging.getLogger(__name__)
# A killed process loses the results of at most so many seconds.
MAX_SECONDS = 10.0
MAX_ROWS = 4096
KEY_FILE = "key.json"


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
        self._done = Counter[str]()

    def __enter__(self) -> Self:
        """Lock the folder, and find the parts of an interrupted prediction."""
        self._acquire()
        try:
            self._parts = self._find_parts()
            for part in self._parts:
                self._done.update(_read(part, [PATH])[PATH].to_pylist())
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
        """Yield the files that have no result yet. A file that is named twice has two results."""
        left = self._done.copy()
        for file in files:
            if left[file.path] > 0:
                left[file.path] -= 1
            else:
                yield file

    def append(self, results: pa.Table) -> None:
        """Add results, and save them once there are enough, or enough time has passed."""
        self._pending.append(results)
        rows = sum(table.num_rows for table in self._pending)
        if rows >= MAX_ROWS or time.monotonic() - self._saved >= MAX_SECONDS:
            self.save()

    def save(self) -> None:
        """Save the results that are only in memory."""
        if self._pending:
            if not self._parts:
                write_json(self._folder / KEY_FILE, self._key)
            part = self._folder / f"{len(self._parts):06d}.parquet"
            with atomic_path(part) as temporary:
                pq.write_table(pa.concat_tables(self._pending), temporary, compression="zstd")
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
        logger.warning("%s has results by another model or with other options; starting again", self._folder)
        shutil.rmtree(self._folder)
        return []


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
