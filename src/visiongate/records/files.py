"""Read and write files. A file appears complete or not at all, and its bytes depend on the content alone."""

import csv
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from visiongate.errors import DataError

# A name, the characters that `tempfile` adds, and the suffix.
_TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}(\.\w+)?")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``, and rename it to ``path`` if the block succeeds.

    The target is replaced, not overwritten: it may be a read-only link into DVC's cache.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        # A failed write only knows the file handle.
        if error.filename is None:
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def remove_unfinished(folder: Path) -> None:
    """Remove the temporary files of `atomic_path` that killed processes have left in a folder."""
    for path in folder.glob(".*.*"):
        if _TEMPORARY.fullmatch(path.name):
            path.unlink(missing_ok=True)


def read_output(path: Path) -> bytes:
    """Return the content of a file that a stage writes.

    Raises:
        DataError: The file is missing.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; run `dvc repro` or `dvc pull`") from None


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text without changing newlines."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401 - any JSON value
    """Write indented JSON in the given order of keys. NaN and infinity raise ValueError, because JSON does not have them."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Write CSV with a header; floats in their shortest exact form, None as an empty cell."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_json(path: Path) -> Any:  # noqa: ANN401 - any JSON value
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def md5_of(path: Path) -> str:
    """Return the MD5 of a file, in hexadecimal, as in ``dvc.lock``."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
