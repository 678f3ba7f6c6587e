"""Tables of images that people and commands write and git tracks: read as whole files, and replaced under a lock."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from visiongate.errors import DataError
from visiongate.records.parsing import parse_numbered_csv

# Excel writes it before UTF-8.
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SHA256 = re.compile(r"[0-9a-f]{64}")


class SharedRow(Protocol):
    """A row, which gives an image a label."""

    @property
    def sha256(self) -> str:
        """Of the encoded file."""

    @property
    def label(self) -> str | None:
        """The class."""


Row = TypeVar("Row", bound=SharedRow)


def read_shared(path: Path) -> bytes:
    """Return the content of a table that git tracks.

    Raises:
        DataError: The file is missing, or a folder.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; run `git checkout -- {path}`") from None
    except IsADirectoryError:
        raise DataError(f"{path}: a folder; remove it, and run `git checkout -- {path}`") from None


def parse_shared(
    content: bytes,
    source: str,
    columns: Sequence[str],
    parse_row: Callable[[Mapping[str, str]], Row],
    contradict: Callable[[Row, Row], str],
) -> dict[str, Row]:
    """Parse the content of a table, and return its rows by sha256, in the order of the file.

    Args:
        content: UTF-8 text.
        source: The file's name, for the error message.
        columns: That the table must have.
        parse_row: Returns a row, or raises a `DataError`.
        contradict: Says how two rows give the same image different labels.

    Raises:
        DataError: A line is invalid, not UTF-8, or contradicts another one; the message has the number of the line.
    """
    try:
        return _parse_lines(parse_numbered_csv(_strip_mark(content), *columns), parse_row, contradict)
    except DataError as error:
        raise DataError(f"{source}: {error}") from None


def _parse_lines(
    lines: Iterable[tuple[int, Mapping[str, str]]],
    parse_row: Callable[[Mapping[str, str]], Row],
    contradict: Callable[[Row, Row], str],
) -> dict[str, Row]:
    found: dict[str, tuple[int, Row]] = {}
    for line, cells in lines:
        try:
            row = parse_row(cells)
        except DataError as error:
            raise DataError(f"line {line}: {error}") from None
        first, other = found.setdefault(row.sha256, (line, row))
        # Two branches may have labeled the same image; only a person can say which one is right.
        if other.label != row.label:
            raise DataError(f"lines {first} and {line} {contradict(other, row)}")
    return {sha256: row for sha256, (_, row) in found.items()}


def _strip_mark(content: bytes) -> bytes:
    """Check that a text is UTF-8, and return it without the byte order mark.

    Raises:
        DataError: It is not UTF-8; the message has the number of the line.
    """
    try:
        content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"line {line} is not UTF-8; save the file as UTF-8") from None
    return content.removeprefix(_BYTE_ORDER_MARK)


def find_hash_problem(sha256: str) -> str | None:
    """Return what is wrong with the hash of an image, and the fix; None if it is valid."""
    if _SHA256.fullmatch(sha256):
        return None
    return f"sha256 {sha256[:80]!r} is not 64 hexadecimal digits in lower case; `sha256sum FILE` prints them"


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Lock a table for a change; errors of the disk become a `DataError`."""
    # The image of the service reads tables, and has no such package.
    from filelock import FileLock  # noqa: PLC0415

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            yield
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written: {error.strerror or error}; it is as before; check the disk and the permissions"
        ) from None
