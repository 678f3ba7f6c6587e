"""The image files that the service keeps, as ``AB/SHA256.EXTENSION`` in a folder or a bucket: written, found, read, deleted."""

import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, Protocol

from visiongate.errors import DataError
from visiongate.records.files import atomic_path

SETTING = "serving.log.images.folder"
# Names of the time of a file in the information of fsspec's file systems.
_TIMES = ("LastModified", "last_modified", "mtime", "updated", "created")
_NAME = re.compile(r"([0-9a-f]{64})\.\w+")


class KeptFile(NamedTuple):
    """The file of an image.

    Attributes:
        sha256: Of its content.
        bytes: Of its content.
        seen_at: When the file was last written, in seconds since 1970.
    """

    sha256: str
    bytes: int
    seen_at: float


class EncodedImage(NamedTuple):
    """A file that is to be written.

    Attributes:
        sha256: Of the content.
        extension: Without the dot.
        content: As the client sent it.
    """

    sha256: str
    extension: str
    content: bytes

    @property
    def name(self) -> str:
        """The path of the file in the folder."""
        return f"{self.sha256[:2]}/{self.sha256}.{self.extension}"


class KeptImages(Protocol):
    """Image files by the sha256 of their content."""

    def write(self, images: Sequence[EncodedImage]) -> None:
        """Write files; the age of those that exist starts again."""

    def files(self) -> Iterator[KeptFile]:
        """Yield all files."""

    def find(self, sha256: str) -> str | None:
        """Return the extension of the file, without the dot; None if there is none."""

    def read(self, sha256: str, extension: str) -> bytes:
        """Return the content of a file."""

    def delete(self, sha256: str) -> bool:
        """Delete the file of an image, and return whether there was one."""


def open_kept_images(folder: str) -> KeptImages:
    """Return the images in a folder, or at an address such as ``s3://BUCKET/FOLDER``.

    Its methods raise `DataError` if the files cannot be read.

    Raises:
        DataError: A package for the address is missing.
    """
    if "://" not in folder:
        return _Folder(Path(folder))
    try:
        import fsspec  # noqa: PLC0415 - for buckets only

        with _explained(folder):
            system, root = fsspec.core.url_to_fs(folder)
    except ImportError as error:
        raise DataError(f"{SETTING} = {folder!r}: {error}; install the package") from None
    return _Bucket(system, root, folder)


class _Folder:
    def __init__(self, root: Path) -> None:
        self._root = root

    def write(self, images: Sequence[EncodedImage]) -> None:
        with _explained(str(self._root)):
            for image in images:
                path = self._root / image.name
                try:
                    os.utime(path)
                except FileNotFoundError:
                    with atomic_path(path) as temporary:
                        temporary.write_bytes(image.content)

    def files(self) -> Iterator[KeptFile]:
        with _explained(str(self._root)):
            for path in self._root.glob("??/*"):
                # Another process may have deleted it.
                if (match := _NAME.fullmatch(path.name)) and (found := _stat(path)):
                    yield KeptFile(match[1], found.st_size, found.st_mtime)

    def find(self, sha256: str) -> str | None:
        with _explained(str(self._root)):
            path = next(self._paths(sha256), None)
        return None if path is None else path.suffix[1:]

    def read(self, sha256: str, extension: str) -> bytes:
        with _explained(str(self._root)):
            return (self._root / sha256[:2] / f"{sha256}.{extension}").read_bytes()

    def delete(self, sha256: str) -> bool:
        with _explained(str(self._root)):
            found = list(self._paths(sha256))
            for path in found:
                path.unlink(missing_ok=True)
        return bool(found)

    def _paths(self, sha256: str) -> Iterator[Path]:
        return (self._root / sha256[:2]).glob(f"{sha256}.*")


class _Bucket:
    def __init__(self, system: Any, root: str, address: str) -> None:  # noqa: ANN401 - fsspec has no annotations
        self._system, self._root, self._address = system, root, address

    def write(self, images: Sequence[EncodedImage]) -> None:
        with _explained(self._address):
            # All at the same time, if the file system can.
            self._system.pipe({f"{self._root}/{image.name}": image.content for image in images})

    def files(self) -> Iterator[KeptFile]:
        with _explained(self._address):
            self._system.invalidate_cache()
            for name, found in self._system.find(self._root, detail=True).items():
                if match := _NAME.fullmatch(PurePosixPath(name).name):
                    yield KeptFile(match[1], int(found["size"]), _seen_at(found))

    def find(self, sha256: str) -> str | None:
        names = self._names(sha256)
        return PurePosixPath(names[0]).suffix[1:] if names else None

    def read(self, sha256: str, extension: str) -> bytes:
        with _explained(self._address):
            content: bytes = self._system.cat_file(f"{self._root}/{sha256[:2]}/{sha256}.{extension}")
        return content

    def delete(self, sha256: str) -> bool:
        names = self._names(sha256)
        with _explained(self._address):
            for name in names:
                self._system.rm_file(name)
        return bool(names)

    def _names(self, sha256: str) -> list[str]:
        with _explained(self._address):
            names: list[str] = self._system.glob(f"{self._root}/{sha256[:2]}/{sha256}.*")
        return names


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _seen_at(found: dict[str, Any]) -> float:
    """Return the time of a file in a bucket, in seconds since 1970; now if its file system does not tell it."""
    given = next((found[name] for name in _TIMES if name in found), time.time())
    return given.timestamp() if isinstance(given, datetime) else float(given)


@contextmanager
def _explained(folder: str) -> Iterator[None]:
    """Raise what a file system or a bucket's client raises as a `DataError`."""
    try:
        yield
    except ImportError:
        raise
    # Clients of buckets have errors of their own.
    except Exception as error:
        text = " ".join(str(error).split())
        raise DataError(
            f"{SETTING} = {folder!r}: cannot be used: {text}; check the address and the permissions"
        ) from error
