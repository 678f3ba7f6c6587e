"""Pixel arrays on disk that processes of several machines fill, each its own rows.

Rows are written by ``pwrite``, through a handle that only writes, and not through a memory map. On a network file system, a
machine that has read a page of a file may later write the whole page back, with outdated rows of another machine. A page that
it only writes is sent in the ranges that were written. For the same reason, nobody reads the file while it is filled, and the
header, which shares a page with the first rows, is written last. A full disk raises an error, whereas a map would kill the
process.
"""

import errno
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from visiongate.images.pixels import Pixels


@dataclass(frozen=True)
class ArrayFile:
    """A ``.npy`` file of uint8 that is being written.

    Attributes:
        path: The unfinished file.
        name: What it will be called, for error messages.
        shape: Of the array.
    """

    path: Path
    name: Path
    shape: tuple[int, ...]

    @cached_property
    def header(self) -> bytes:
        """The bytes before the first row."""
        buffer = io.BytesIO()
        described = {"descr": "|u1", "fortran_order": False, "shape": self.shape}
        np.lib.format.write_array_header_1_0(buffer, described)
        return buffer.getvalue()

    @cached_property
    def row_bytes(self) -> int:
        """The size of a row."""
        return int(np.prod(self.shape[1:]))

    def reserve(self) -> None:
        """Give the file its size, and reserve the space if the file system can, so that a full disk is noticed first."""
        size = len(self.header) + self.shape[0] * self.row_bytes
        # The C library imitates a reservation by writing to each block, but only if the handle may read.
        with self._opened(os.O_WRONLY) as handle:
            os.ftruncate(handle, size)
            if hasattr(os, "posix_fallocate"):
                try:
                    os.posix_fallocate(handle, 0, size)
                except OSError as error:
                    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                        raise

    @contextmanager
    def open(self) -> Iterator["RowWriter"]:
        """Open the file for writing rows, in any thread; they are on the disk when the block ends."""
        with self._opened(os.O_WRONLY) as handle:
            yield RowWriter(self, handle)
            os.fsync(handle)

    def finish(self) -> None:
        """Write the header, after all rows."""
        with self._opened(os.O_WRONLY) as handle:
            _write(handle, self.header, 0)
            os.fsync(handle)

    @contextmanager
    def _opened(self, flags: int) -> Iterator[int]:
        try:
            handle = os.open(self.path, flags)
            try:
                yield handle
            finally:
                os.close(handle)
        except OSError as error:
            error.filename = str(self.name)
            raise


@dataclass(frozen=True, slots=True)
class RowWriter:
    """An open array file."""

    file: ArrayFile
    handle: int

    def write(self, row: int, pixels: Pixels) -> None:
        """Write a row."""
        start = len(self.file.header) + row * self.file.row_bytes
        _write(self.handle, np.ascontiguousarray(pixels).data.cast("B"), start)


def _write(handle: int, content: bytes | memoryview, start: int) -> None:
    """Write all bytes; an almost full disk takes a part of them."""
    view = memoryview(content)
    while view:
        written = os.pwrite(handle, view, start)
        view, start = view[written:], start + written
