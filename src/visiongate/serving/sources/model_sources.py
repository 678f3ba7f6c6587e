"""Where a served model comes from: a file or a folder. `visiongate.serving.sources.registry_source` is for a registry."""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

from visiongate.errors import DataError, VisiongateError
from visiongate.records.drift_reference import REFERENCE_FILE
from visiongate.records.files import sha256_of
from visiongate.records.registry_tags import MODEL_FILE
from visiongate.records.served_model import SERVED_FILE, ServedModel, read_served_model
from visiongate.serving.sources.work_tree import WorkTree


class UnreachableError(VisiongateError):
    """A registry, or a file in it, cannot be read at the moment."""


class MissingFileError(DataError):
    """The file or folder of a model is missing. It may come back at any time, and looking for it costs nothing."""


class NoVersionError(VisiongateError):
    """A registry has no such version, or no such alias."""


class NoChallengerError(NoVersionError):
    """No version has the alias of challengers, as after a promotion; that is no problem."""


@dataclass(frozen=True, slots=True)
class ServedFile:
    """A model's file, and what is known about it.

    Attributes:
        path: The ONNX file.
        name: Of the registered model, or of the file.
        version: In the registry; None for a file.
        sha256: That the file must have.
        threshold: That it was evaluated with, if any.
        card: The model card, as Markdown.
        lineage: Commit, data and parameters that it was trained from, and when it was registered.
        aliases: That point to the version.
        source: For messages.
        reference: Where held-out images are described, for `visiongate drift`; None if nowhere. The file may be missing.
        reference_sha256: That this file must have; None if it is not known.
    """

    path: Path
    name: str
    version: str | None
    sha256: str
    threshold: float | None
    card: str | None = None
    lineage: Mapping[str, object] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    source: str = ""
    reference: Path | None = None
    reference_sha256: str | None = None

    @classmethod
    def of(cls, path: Path, model: ServedModel, source: str) -> Self:
        """Return the file of a registered version, whose reference is beside it."""
        return cls(
            path,
            model.name,
            model.version,
            model.sha256,
            model.threshold,
            model.card,
            model.lineage,
            tuple(model.aliases),
            source,
            None if model.reference_sha256 is None else path.with_name(REFERENCE_FILE),
            model.reference_sha256,
        )

    @property
    def identity(self) -> tuple[object, ...]:
        """What its answers depend on; another one is another version."""
        return self.name, self.version, self.sha256, self.threshold


class ModelSource(Protocol):
    """A place that has a version of a model, which may change. Its methods are called in threads."""

    def current(self) -> ServedFile:
        """Return the current version. This is quick if the version is that of the call before.

        Raises:
            UnreachableError: The place cannot be reached.
            VisiongateError: It has no usable version.
        """

    def fallback(self) -> ServedFile | None:
        """Return what to serve if `current` fails at the start; None if there is nothing."""


class FileSource:
    """An ONNX file.

    Args:
        path: The file.
        work_tree: Describes the file, if it is that of the work tree.
    """

    def __init__(self, path: Path, work_tree: WorkTree | None = None) -> None:
        self._path, self._work_tree = path, work_tree
        self._seen: tuple[object, ServedFile] | None = None

    def current(self) -> ServedFile:
        """Return the file as it is now; it is only read again if its time or size has changed."""
        try:
            status = self._path.stat()
            if not stat.S_ISREG(status.st_mode):
                # Reading a pipe or a device may never end.
                raise DataError(f"{self._path}: not a file; name an ONNX file")
            signature = status.st_ino, status.st_size, status.st_mtime_ns
            if self._seen is None or self._seen[0] != signature:
                self._seen = signature, self._describe(sha256_of(self._path))
        except FileNotFoundError:
            raise MissingFileError(f"{self._path}: no such model file") from None
        except OSError as error:
            raise DataError(f"{self._path}: {os.strerror(error.errno or 0)}") from None
        return self._seen[1]

    def fallback(self) -> None:
        """Return nothing."""

    def _describe(self, sha256: str) -> ServedFile:
        described: dict[str, Any] = {"name": self._path.stem, "threshold": None}
        if self._work_tree is not None and self._work_tree.has(self._path):
            described |= self._work_tree.describe(sha256) | {"reference": self._work_tree.reference}
        return ServedFile(self._path, version=None, sha256=sha256, source=str(self._path), **described)


@dataclass(frozen=True, slots=True)
class FolderSource:
    """A folder that ``visiongate registry export`` wrote."""

    path: Path

    def current(self) -> ServedFile:
        """Return the version that the folder's description names."""
        try:
            model = read_served_model(self.path / SERVED_FILE)
        except DataError as error:
            if (self.path / SERVED_FILE).exists():
                raise
            raise MissingFileError(str(error)) from None
        return ServedFile.of(
            self.path / MODEL_FILE, model, f"{self.path} ({model.name} version {model.version})"
        )

    def fallback(self) -> None:
        """Return nothing."""
