"""Read zip and tar archives without extracting them: no archive chooses the name of a file on disk."""

import bz2
import gzip
import lzma
import os
import re
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from visiongate.errors import DataError
from visiongate.ingestion.limits import check_ratio, check_sizes
from visiongate.settings.dataset import Limits

ZIP_SIGNATURES = (b"PK\x03\x04", b"PK\x05\x06")
DECOMPRESSORS: Mapping[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
SIGNATURE_BYTES = 6
CHUNK = 2**20
# Entries for an unknown compression raise NotImplementedError, encrypted ones RuntimeError.
DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,
    ValueError,
    OverflowError,
)


@dataclass(frozen=True, slots=True)
class Archive:
    """An open archive.

    Attributes:
        paths: The paths of the files.
        read: Returns the content of a file by path.
    """

    paths: list[str]
    read: Callable[[str], bytes]


@contextmanager
def open_archive(path: Path, limits: Limits) -> Iterator[Archive]:
    """Open a zip or a tar (plain, gzip, bzip2 or xz), recognized by its content.

    Raises:
        DataError: The file is not an archive, is damaged, exceeds a limit, or holds links or suspicious paths.
    """
    with ExitStack() as stack:
        with _explain_damage(path.name):
            file: IO[bytes] = stack.enter_context(path.open("rb"))
            signature = file.read(SIGNATURE_BYTES)
            file.seek(0)
            if signature.startswith(ZIP_SIGNATURES):
                archive = _open_zip(file, path.name, limits)
            else:
                for magic, opener in DECOMPRESSORS.items():
                    if signature.startswith(magic):
                        file = stack.enter_context(_decompress(file, opener, path.name, limits))
                archive = _open_tar(file, path.name, limits)
        yield archive


@contextmanager
def _explain_damage(archive: str, entry: str = "archive") -> Iterator[None]:
    """Turn the errors of the decompression modules into a `DataError`."""
    try:
        yield
    except (*DAMAGE, OSError) as error:
        # An OSError with a number is about the disk. One without is how gzip and bz2 report damage.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{archive}: {entry} cannot be read: {reason}; download or create the archive again"
        ) from None


def _open_zip(file: IO[bytes], name: str, limits: Limits) -> Archive:
    archive = zipfile.ZipFile(file)
    entries: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        if not info.is_dir():
            entries[_normalize(name, info.orig_filename, entries)] = info
    sizes = {path: info.file_size for path, info in entries.items()}
    check_sizes(name, sizes, limits)
    check_ratio(name, sum(sizes.values()), sum(info.compress_size for info in entries.values()), limits)

    def read(path: str) -> bytes:
        # With a size, zipfile decompresses no more than the entry claims to have.
        with _explain_damage(name, path), archive.open(entries[path]) as source:
            return source.read(sizes[path])

    return Archive(list(entries), read)


def _open_tar(file: IO[bytes], name: str, limits: Limits) -> Archive:
    try:
        archive = tarfile.TarFile(fileobj=file)
    except tarfile.ReadError:
        raise DataError(f"{name}: not a folder, a zip or a tar; set dataset.path to one of them") from None
    entries: dict[str, tarfile.TarInfo] = {}
    for member in archive:
        if member.isdir():
            continue
        path = _normalize(name, member.name, entries)
        if not member.isreg():
            raise DataError(f"{name}: {path}: a link or a device; replace it by a file")
        entries[path] = member
    # tarfile takes a damaged header for the end.
    file.seek(archive.offset)
    if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise EOFError(f"damaged after {len(entries):,} files")
    sizes = {path: member.size for path, member in entries.items()}
    check_sizes(name, sizes, limits)

    def read(path: str) -> bytes:
        file.seek(entries[path].offset_data)
        return file.read(sizes[path])

    return Archive(list(entries), read)


@contextmanager
def _decompress(
    file: IO[bytes], opener: Callable[..., Any], name: str, limits: Limits
) -> Iterator[IO[bytes]]:
    """Decompress a tar into a temporary file, so that its entries can be read in any order."""
    with tempfile.TemporaryFile() as plain, opener(file) as source:
        while chunk := source.read(CHUNK):
            try:
                plain.write(chunk)
            except OSError as error:
                error.filename = tempfile.gettempdir()
                raise
            check_ratio(name, plain.tell(), max(file.tell(), 1), limits)
            if plain.tell() > limits.max_total_bytes:
                check_sizes(name, {name: plain.tell()}, limits)
        plain.seek(0)
        yield plain


def _normalize(archive: str, path: str, existing: Mapping[str, object]) -> str:
    """Return an entry's path in canonical form.

    Raises:
        DataError: The path leads out of the archive, or occurs twice.
    """
    path = os.fsencode(path).decode("utf-8", "backslashreplace")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("/") or ".." in parts or re.match(r"[A-Za-z]:|.*[\\\0]", path) or not parts:
        raise DataError(f"{archive}: {path!r}: a path that could lead out of the archive; rename the file")
    normalized = str(PurePosixPath(*parts))
    if normalized in existing:
        raise DataError(
            f"{archive}: {normalized}: the archive holds this path twice; remove one of the files"
        )
    return normalized
