"""A folder, a zip or a tar as one thing: files in the order of their paths, read one at a time.

Archives are taken for hostile: nothing is ever unpacked onto the disk under a name that an archive chose, and whatever an
archive of images has no honest use for is refused, with its name and the entry's.
"""

import bz2
import copy
import errno
import gzip
import lzma
import os
import re
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from visiongate.errors import DataError
from visiongate.settings.schema import Limits

JUNK = {
    "__MACOSX",
    "Thumbs.db",
    "desktop.ini",
}  # what operating systems leave among files, besides hidden ones
NESTED = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar")
FREE_BYTES = 64 * 2**20  # decompressed so far, no ratio is suspicious
CHUNK = 2**20
BLOCK = 512  # a tar's unit
LOCAL_HEADER = 30  # bytes before each entry of a zip, at least
LONGEST_NAME = 2**16  # bytes of a tar's extended header; a path has a few hundred
LZMA_PROPERTIES = (
    9  # bytes before an entry's data in a zip: two of version, two of length, five of properties
)
# What an extended header may not say: another size than the plain header, which would lead tarfile elsewhere than it leads us
# or, being negative, round in circles (CVE-2025-8194); nor so long a number that tarfile's search takes hours (CVE-2024-6232).
MISLEADING = re.compile(rb"(?:^|\n)\d+ size=|\d{100}")
EXTENDED = {
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
}
STORED, DEFLATED, BZIP2, LZMA = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA
BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    NotImplementedError,
    ValueError,
    OverflowError,
    RecursionError,  # tarfile's answer to a long row of extended headers
)


@dataclass(frozen=True, slots=True)
class Tree:
    r"""Files by path, and how to read one.

    ``paths`` are relative, with forward slashes, sorted, unique; bytes of a name that are no UTF-8 are written ``\xNN``.
    """

    name: str  # of the folder or archive, for messages
    paths: list[str]
    read: Callable[[str], bytes]  # by path; raises DataError
    ignored: Counter[str]  # files left out, by why


@contextmanager
def open_tree(path: Path, limits: Limits, exclude: Sequence[str] = ()) -> Iterator[Tree]:
    """Open a folder or an archive, known by its content, and list its files.

    Args:
        path: The folder or archive.
        limits: What it may cost.
        exclude: Patterns of paths to leave out; ``*`` matches slashes too.

    Raises:
        DataError: It does not exist, is of no known kind, is damaged, costs too much, or holds what is refused.
    """
    if path.is_dir():
        yield _list_folder(path, limits, exclude)
        return
    with ExitStack() as stack:
        # What goes wrong while the caller reads and writes is reported where it is read, or not about the archive at all.
        with _reporting(path.name, "the archive"):
            file = stack.enter_context(_open_file(path))
            kind = _recognize(file)
            if kind is None:
                raise DataError(f"{path.name}: neither a folder, a zip nor a tar")
            opened = (
                _open_zip(file, path.name, limits)
                if kind == "zip"
                else _open_tar(stack.enter_context(_spool(file, kind, path.name, limits)), path.name, limits)
            )
            tree = _make_tree(path.name, *opened, exclude)
        yield tree


Entries = dict[str, int]  # bytes, decompressed, by path
Read = Callable[[str], bytes]


def _make_tree(name: str, entries: Entries, read: Read, exclude: Sequence[str]) -> Tree:
    """Leave out what is no image by its path, refuse archives in archives, and have reading report."""
    ignored: Counter[str] = Counter()
    paths = []
    for path in sorted(entries):
        reason = _leave_out(path, exclude)
        if reason:
            ignored[reason] += 1
        elif _is_nested(path):
            raise DataError(f"{name}: {path}: an archive within an archive: unpack it first, or exclude it")
        else:
            paths.append(path)

    def read_reporting(path: str) -> bytes:
        with _reporting(name, path):
            return read(path)

    return Tree(name, paths, read_reporting, ignored)


def _leave_out(path: str, exclude: Sequence[str]) -> str | None:
    if any(part.startswith(".") or part in JUNK for part in path.split("/")):
        return "hidden"
    return "excluded" if any(fnmatchcase(path, pattern) for pattern in exclude) else None


def _is_nested(path: str) -> bool:
    # The files of MNIST are compressed one by one.
    return path.lower().endswith(NESTED) and not path.endswith("-ubyte.gz")


@contextmanager
def _reporting(name: str, what: str) -> Iterator[None]:
    """Turn whatever reading a broken archive raises into one line."""
    try:
        yield
    except BROKEN as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise DataError(
                f"{name}: {what}: no room in {tempfile.gettempdir()}: free some, or set TMPDIR"
            ) from None
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{name}: {what}: damaged or cut short: {reason}") from None


# Folders


def _list_folder(root: Path, limits: Limits, exclude: Sequence[str]) -> Tree:
    ignored: Counter[str] = Counter()
    files: dict[str, Path] = {}
    budget = _Budget(root.name, limits)
    waiting = [os.fspath(root)]
    while waiting:
        for entry in _scan(waiting.pop()):
            path = _printable(os.path.relpath(entry.path, root))
            reason = _leave_out(path, exclude)
            if reason:
                ignored[reason] += 1
            elif _is_folder(entry, path, root.name):
                waiting.append(entry.path)
            else:
                _refuse_twice(root.name, path, files)
                budget.add(path, _size(entry, path, root.name))
                files[path] = Path(entry.path)
    return Tree(root.name, sorted(files), partial(_read_file, root.name, files), ignored)


def list_files(name: str, files: Mapping[str, Path], limits: Limits, exclude: Sequence[str] = ()) -> Tree:
    """Make a tree of files that lie anywhere.

    Args:
        name: Of the whole, for messages.
        files: By path within the tree.
        limits: What they may cost.
        exclude: As in `open_tree`.

    Raises:
        DataError: They cost too much.
    """
    budget = _Budget(name, limits)
    ignored = Counter(filter(None, (_leave_out(path, exclude) for path in files)))
    paths = sorted(path for path in files if not _leave_out(path, exclude))
    for path in paths:
        budget.add(path, files[path].stat().st_size)
    return Tree(name, paths, partial(_read_file, name, files), ignored)


def _read_file(name: str, files: Mapping[str, Path], path: str) -> bytes:
    try:
        return files[path].read_bytes()
    except OSError as error:
        raise DataError(f"{name}: {path}: cannot be read: {error.strerror}") from None


def _scan(folder: str) -> list["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError as error:
        raise DataError(f"{_printable(folder)}: cannot be read: {error.strerror}") from None


def _is_folder(entry: "os.DirEntry[str]", path: str, root: str) -> bool:
    if entry.is_symlink():
        raise DataError(f"{root}: {path}: a link: put a copy in its place, or exclude it")
    if entry.is_dir(follow_symlinks=False):
        return True
    if not entry.is_file(follow_symlinks=False):
        raise DataError(f"{root}: {path}: neither a file nor a folder: remove it, or exclude it")
    return False


def _size(entry: "os.DirEntry[str]", path: str, root: str) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_size
    except OSError as error:
        raise DataError(f"{root}: {path}: cannot be read: {error.strerror}") from None


def _printable(path: str) -> str:
    r"""Write bytes that are no UTF-8 as ``\xNN``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


# Archives


class _Budget:
    """What a source may cost, counted while its entries are listed."""

    def __init__(self, name: str, limits: Limits) -> None:
        self._name, self._limits = name, limits
        self._files = self._bytes = 0

    def add(self, path: str, size: int) -> None:
        """Count a file.

        Raises:
            DataError: That is one too many, or too large.
        """
        limits = self._limits
        self._files, self._bytes = self._files + 1, self._bytes + size
        told = (
            ("max_files", limits.max_files, self._files, "files"),
            ("max_file_bytes", limits.max_file_bytes, size, f"bytes in {path}"),
            ("max_total_bytes", limits.max_total_bytes, self._bytes, "bytes in all"),
        )
        for setting, limit, found, of in told:
            if found > limit:
                raise DataError(
                    f"{self._name}: {found:,} {of}, over dataset.limits.{setting} = {limit:,}: raise it if you trust the source"
                )

    def check_ratio(self, decompressed: int, compressed: int) -> None:
        """Refuse a decompression bomb.

        Raises:
            DataError: It grows too much.
        """
        limit = self._limits.max_ratio
        if decompressed > FREE_BYTES and decompressed > limit * compressed:
            raise DataError(
                f"{self._name}: {compressed:,} bytes grow to {decompressed:,} or more, a decompression bomb: "
                f"over dataset.limits.max_ratio = {limit:g}; raise it if you trust the source"
            )


def _open_file(path: Path) -> BinaryIO:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataError(f"{path}: neither a file nor a folder")
        return path.open("rb")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None


def _recognize(file: BinaryIO) -> str | None:
    """Tell an archive by its first bytes: zip, gz, bz2, xz or tar."""
    head = file.read(BLOCK)
    file.seek(0)
    for kind, magic in (("zip", b"PK\x03\x04"), ("zip", b"PK\x05\x06"), ("gz", b"\x1f\x8b"), ("bz2", b"BZh")):
        if head.startswith(magic):
            return kind
    if head.startswith(b"\xfd7zXZ\x00"):
        return "xz"
    return "tar" if head[257:262] == b"ustar" or _is_old_tar(head) else None


def _is_old_tar(head: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except tarfile.TarError:
        return False
    return True


def _clean(name: str, path: str) -> str:
    """Return an entry's path in its plain form.

    Raises:
        DataError: It leads out of the archive, or may on some system.
    """
    parts = [part for part in path.split("/") if part not in ("", ".")]
    suspicious = (
        path.startswith("/") or ".." in parts or "\\" in path or "\0" in path or re.match("[A-Za-z]:", path)
    )
    if suspicious or not parts:
        raise DataError(f"{name}: {path!r}: a path that could lead out of the archive: it is refused")
    return str(PurePosixPath(*parts))


def _refuse_twice(name: str, path: str, entries: Iterable[str]) -> None:
    if path in entries:
        raise DataError(f"{name}: {path}: there twice: which one counts is anybody's guess")


def _open_zip(file: BinaryIO, name: str, limits: Limits) -> tuple[Entries, Read]:
    archive = zipfile.ZipFile(file)
    infos = archive.infolist()
    _check_overlap(name, infos, archive.start_dir)
    budget = _Budget(name, limits)
    by_path: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        if info.orig_filename in (".", "./"):
            continue  # the archive's own root
        path = _clean(name, info.orig_filename)
        _check_zip_entry(name, path, info)
        if not info.is_dir():
            _refuse_twice(name, path, by_path)
            budget.add(path, max(info.file_size, info.compress_size))
            by_path[path] = info
    entries = {path: info.file_size for path, info in by_path.items()}
    budget.check_ratio(sum(entries.values()), sum(info.compress_size for info in by_path.values()))

    def read(path: str) -> bytes:
        return _read_entry(archive, by_path[path])

    return entries, read


def _read_entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """Read an entry and check it, decompressing no more than a byte over what it says it has.

    `ZipFile.read` decompresses all that is there, gigabytes perhaps, and then drops what is more than the entry says.
    """
    raw = copy.copy(info)
    raw.compress_type, raw.file_size = STORED, info.compress_size
    del raw.CRC  # of the decompressed bytes
    with archive.open(raw) as source:
        packed = source.read()
    content = _check_size(_decompress(packed, info.compress_type, info.file_size + 1), info.file_size)
    if zlib.crc32(content) != info.CRC:
        raise zipfile.BadZipFile("Bad CRC-32")
    return content


def _decompress(packed: bytes, method: int, most: int) -> bytes:
    if method == DEFLATED:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, most)
    if method == BZIP2:
        return bz2.BZ2Decompressor().decompress(packed, most)
    if method == LZMA:
        # As a stream of the old format .lzma, which says no size.
        alone = packed[4:LZMA_PROPERTIES] + b"\xff" * 8 + packed[LZMA_PROPERTIES:]
        return lzma.LZMADecompressor(lzma.FORMAT_ALONE).decompress(alone, most)
    return packed[:most]


def _check_size(content: bytes, size: int) -> bytes:
    if len(content) > size:
        raise EOFError(f"more than the {size:,} bytes that it says it has")
    if len(content) < size:
        raise EOFError(f"{len(content):,} bytes of {size:,}")
    return content


def _check_zip_entry(name: str, path: str, info: zipfile.ZipInfo) -> None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise DataError(f"{name}: {path}: a link or a device: it is refused")
    if info.flag_bits & 0x1:
        raise DataError(f"{name}: {path}: encrypted: unpack the archive and give the folder")
    if info.compress_type not in (STORED, DEFLATED, BZIP2, LZMA):
        raise DataError(f"{name}: {path}: compressed by a method that Python does not know: pack it anew")


def _check_overlap(name: str, infos: Sequence[zipfile.ZipInfo], end: int) -> None:
    """Refuse entries that share their bytes: so a small zip holds petabytes (Fifield, WOOT 2019)."""
    start = end
    for info in sorted(infos, key=lambda info: info.header_offset, reverse=True):
        if info.header_offset + LOCAL_HEADER + info.compress_size > start:
            raise DataError(f"{name}: {info.filename}: overlaps another entry: a decompression bomb")
        start = info.header_offset


def _open_tar(file: BinaryIO, name: str, limits: Limits) -> tuple[Entries, Read]:
    _check_extended_headers(name, file)
    file.seek(0)
    budget = _Budget(name, limits)
    by_path: dict[str, tarfile.TarInfo] = {}
    for member in tarfile.TarFile(fileobj=file):
        if member.isdir():
            continue
        path = _clean(name, _printable(member.name))
        if not member.isreg() or member.issparse():
            raise DataError(f"{name}: {path}: a link, a device or no plain file: it is refused")
        _refuse_twice(name, path, by_path)
        budget.add(path, member.size)
        by_path[path] = member
    entries = {path: member.size for path, member in by_path.items()}

    def read(path: str) -> bytes:
        file.seek(by_path[path].offset_data)
        return _check_size(file.read(entries[path]), entries[path])

    return entries, read


@contextmanager
def _spool(file: BinaryIO, kind: str, name: str, limits: Limits) -> Iterator[BinaryIO]:
    """Decompress a tar into a nameless file, so that its entries can be read in any order."""
    if kind == "tar":
        yield file
        return
    budget = _Budget(name, limits)
    opened: BinaryIO = {"gz": gzip.open, "bz2": bz2.open, "xz": lzma.open}[kind](file)  # type: ignore[operator]
    with tempfile.TemporaryFile() as plain, opened as source:
        while chunk := source.read(CHUNK):
            plain.write(chunk)
            budget.check_ratio(plain.tell(), max(file.tell(), 1))
            if plain.tell() > limits.max_total_bytes:
                budget.add("the archive", plain.tell())
        plain.seek(0)
        if not _is_old_tar(plain.read(BLOCK)):
            raise DataError(f"{name}: compressed, but no tar")
        plain.seek(0)
        yield plain


def _check_extended_headers(name: str, file: BinaryIO) -> None:
    """Refuse a tar that tarfile would not survive, or would read to no more than a part.

    It reads extended headers whole, whatever size they claim, and takes whatever is no header for the end.
    """
    offset = 0
    file.seek(0)
    while (block := file.read(BLOCK)).strip(b"\0"):
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        extended = header.type in EXTENDED
        if header.size < 0 or (extended and header.size > LONGEST_NAME):
            raise DataError(f"{name}: at byte {offset:,}: a header of {header.size:,} bytes: it is refused")
        if extended and MISLEADING.search(file.read(header.size)):
            raise DataError(f"{name}: at byte {offset:,}: a header that misleads: it is refused")
        has_data = extended or header.isreg()
        offset += BLOCK + (-(-header.size // BLOCK) * BLOCK if has_data else 0)
        file.seek(offset)
    _check_end(file, block)


def _check_end(file: BinaryIO, block: bytes) -> None:
    """Refuse a tar that is cut off between two files, or goes on after its end, as two that were joined do."""
    if len(block) < BLOCK:
        raise EOFError("it has no end")
    while chunk := file.read(CHUNK):
        if chunk.count(0) != len(chunk):
            raise EOFError("files after its end; were several archives joined?")
