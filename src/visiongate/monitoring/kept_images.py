"""The image files that the service keeps, in a folder or a bucket, as ``AB/SHA256.EXTENSION``: found, read and deleted."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from visiongate.errors import DataError

SETTING = "serving.log.images.folder"


class KeptImages(Protocol):
    """Image files by the sha256 of their content."""

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
            f"{SETTING} = {folder!r}: cannot be read: {text}; check the address and the permissions"
        ) from error
