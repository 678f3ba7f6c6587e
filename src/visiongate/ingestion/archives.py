"""Read zip and tar archives without extracting them: no archive chooses the name of a file on disk."""

import bz2
import gzip
import lzma
import os
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from visiongate.errors import DataError
from visiongate.ingestion.archive_links import add_linked_entries, join_target
from visiongate.ingestion.limits import check_ratio, check_sizes
from visiongate.ingestion.names import check_path, decode_name
from visiongate.settings.dataset import Dataset, Limits

ZIP_SIGNATURES = (b"PK\x03\x04", b"PK\x05\x06")
DECOMPRESSORS: Mapping[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
SIGNATURE_BYTES = 6
CHUNK = 2**20
# The mark of a zip's entry whose name is UTF-8, and the field of Info-ZIP with the name as UTF-8.
UTF8_FLAG = 0x800
UNICODE_PATH = 0x7075
# Bytes of a link's target; Linux allows no more.
MAX_TARGET = 4096
# Where a tar states its format.
TAR_OFFSET, TAR_SIGNATURE = 257, b"ustar"
LeftOut = Callable[[str], bool]
# Opens a tar from its start.
Reopen = Callable[[], AbstractContextManager[IO[bytes]]]
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
        sizes: Decompressed bytes of the files by path.
        read: Returns the content of a file by path.
    """

    sizes: Mapping[str, int]
    read: Callable[[str], bytes]


def is_archive(path: Path) -> bool:
    """Return whether a file starts like an archive that `open_archive` reads."""
    with path.open("rb") as file:
        head = file.read(TAR_OFFSET + len(TAR_SIGNATURE))
    return head.startswith((*ZIP_SIGNATURES, *DECOMPRESSORS)) or head.endswith(TAR_SIGNATURE)


@contextmanager
def open_archive(path: Path, dataset: Dataset, is_left_out: LeftOut) -> Iterator[Archive]:
    """Open a zip or a tar (plain, gzip, bzip2 or xz), recognized by its content.

    Args:
        path: The archive.
        dataset: The limits, and the encoding of names.
        is_left_out: Returns whether a file is not needed, so that a link may lead to nothing.

    Raises:
        DataError: The file is not an archive, is damaged or exceeds a limit, or holds paths or links that lead out of it.
    """
    with ExitStack() as stack:
        with explain_damage(path.name):
            with path.open("rb") as file:
                signature = file.read(SIGNATURE_BYTES)
            if signature.startswith(ZIP_SIGNATURES):
                archive = _open_zip(stack.enter_context(path.open("rb")), path.name, dataset, is_left_out)
            else:
                # A plain tar is opened for each reading, because a data set may have more of them than a process may open.
                reopen: Reopen = lambda: path.open("rb")  # noqa: E731 - its type is simpler than that of `partial`
                for magic, opener in DECOMPRESSORS.items():
                    if signature.startswith(magic):
                        reopen = stack.enter_context(_decompress(path, opener, dataset.limits))
                archive = _open_tar(reopen, path.name, dataset, is_left_out)
        yield archive


@contextmanager
def explain_damage(archive: str, entry: str = "archive") -> Iterator[None]:
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


def _open_zip(file: IO[bytes], name: str, dataset: Dataset, is_left_out: LeftOut) -> Archive:
    archive = zipfile.ZipFile(file)
    entries: dict[str, zipfile.ZipInfo] = {}
    links: dict[str, str | None] = {}
    for info in archive.infolist():
        path = _zip_path(info, dataset.encoding)
        if info.is_dir() or path.endswith("/"):
            continue
        path = _check_new(name, check_path(name, path), entries)
        if not stat.S_ISLNK(info.external_attr >> 16):
            entries[path] = info
        elif not is_left_out(path):
            with explain_damage(name, path), archive.open(info) as source:
                links[path] = join_target(path, decode_name(source.read(MAX_TARGET), dataset.encoding))
    packed = sum(info.compress_size for info in entries.values())
    check_ratio(name, sum(info.file_size for info in entries.values()), packed, dataset.limits)
    add_linked_entries(name, entries, links, dataset.limits.max_files)
    sizes = {path: info.file_size for path, info in entries.items()}
    check_sizes(name, sizes, dataset.limits)

    def read(path: str) -> bytes:
        # With a size, zipfile decompresses no more than the entry claims to have.
        with explain_damage(name, path), archive.open(entries[path]) as source:
            return source.read(sizes[path])

    return Archive(sizes, read)


def _zip_path(info: zipfile.ZipInfo, encoding: str | None) -> str:
    """Return an entry's path: from its Unicode field, marked as UTF-8, or in an encoding that the archive does not name."""
    if info.flag_bits & UTF8_FLAG:
        return info.orig_filename.replace("\\", "/")
    raw = info.orig_filename.encode("cp437")
    return _unicode_field(info.extra, raw) or decode_name(raw, encoding, prefer_utf8=encoding is None)


def _unicode_field(extra: bytes, raw: bytes) -> str | None:
    """Return the path of Info-ZIP's extra field 0x7075, if it belongs to this name.

    The format is described in section 4.6.9 of PKWARE's APPNOTE.
    """
    while len(extra) >= 4:  # noqa: PLR2004 - a field's header
        kind, size = struct.unpack("<HH", extra[:4])
        content, extra = extra[4 : 4 + size], extra[4 + size :]
        if kind == UNICODE_PATH and content[:5] == struct.pack("<BI", 1, zlib.crc32(raw)):
            return content[5:].decode("utf-8").replace("\\", "/")
    return None


def _open_tar(reopen: Reopen, name: str, dataset: Dataset, is_left_out: LeftOut) -> Archive:
    with reopen() as file:
        entries = _list_tar(file, name, dataset, is_left_out)
    sizes = {path: size for path, (_, size) in entries.items()}
    check_sizes(name, sizes, dataset.limits)

    def read(path: str) -> bytes:
        offset, size = entries[path]
        with reopen() as file:
            file.seek(offset)
            return file.read(size)

    return Archive(sizes, read)


def _list_tar(
    file: IO[bytes], name: str, dataset: Dataset, is_left_out: LeftOut
) -> dict[str, tuple[int, int]]:
    """Return the offset and the size of each file of a tar."""
    try:
        archive = tarfile.TarFile(fileobj=file)
    except tarfile.ReadError:
        raise DataError(
            f"{name}: not a folder, a zip, a tar, a Parquet file or an .npz; set dataset.path to one of them, or exclude it by "
            "dataset.exclude"
        ) from None
    entries: dict[str, tuple[int, int]] = {}
    links: dict[str, str | None] = {}
    for member in archive:
        if member.isdir():
            continue
        path = _check_new(name, _tar_path(name, member.name, dataset.encoding), entries)
        if member.isreg():
            entries[path] = (member.offset_data, member.size)
        elif is_left_out(path):
            continue
        elif member.issym():
            links[path] = join_target(path, decode_name(os.fsencode(member.linkname), dataset.encoding))
        elif member.islnk():
            # A hard link names a member from the top of the archive.
            links[path] = join_target("", decode_name(os.fsencode(member.linkname), dataset.encoding))
        else:
            raise DataError(f"{name}: {path}: a device or a pipe; remove it, or add it to dataset.exclude")
    # tarfile takes a damaged header for the end.
    file.seek(archive.offset)
    if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise EOFError(f"damaged after {len(entries):,} files")
    add_linked_entries(name, entries, links, dataset.limits.max_files)
    return entries


def _tar_path(archive: str, path: str, encoding: str | None) -> str:
    return check_path(archive, decode_name(os.fsencode(path), encoding, prefer_utf8=encoding is None))


@contextmanager
def _decompress(path: Path, opener: Callable[..., Any], limits: Limits) -> Iterator[Reopen]:
    """Decompress a tar into a temporary file, so that its entries can be read in any order."""
    with tempfile.TemporaryFile() as plain, path.open("rb") as file, opener(file) as source:
        while chunk := source.read(CHUNK):
            try:
                plain.write(chunk)
            except OSError as error:
                error.filename = tempfile.gettempdir()
                raise
            check_ratio(path.name, plain.tell(), max(file.tell(), 1), limits)
            if plain.tell() > limits.max_total_bytes:
                check_sizes(path.name, {path.name: plain.tell()}, limits)
        plain.seek(0)
        yield lambda: nullcontext(plain)


def _check_new(archive: str, path: str, existing: Mapping[str, object]) -> str:
    """Return a path that the archive does not hold yet.

    Raises:
        DataError: The path occurs twice.
    """
    if path in existing:
        raise DataError(f"{archive}: {path}: the archive holds this path twice; remove one of the files")
    return path
