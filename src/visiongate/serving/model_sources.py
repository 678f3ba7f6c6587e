"""Where a served model comes from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from visiongate.errors import DataError, SettingsError
from visiongate.records.files import sha256_of
from visiongate.settings.serving_environment import Deployment


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
        lineage: Commit, data and parameters that it was trained from.
        aliases: That point to the version.
        source: For messages.
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


class ModelSource(Protocol):
    """A place that has a version of a model, which may change."""

    def current(self) -> ServedFile:
        """Return the current version. Called in a thread.

        Raises:
            VisiongateError: The place cannot be reached, or has no usable version.
        """


@dataclass(frozen=True, slots=True)
class FileSource:
    """An ONNX file."""

    path: Path

    def current(self) -> ServedFile:
        """Return the file as it is now."""
        if not self.path.is_file():
            raise DataError(f"{self.path}: no such model file")
        sha256 = sha256_of(self.path)
        return ServedFile(self.path, self.path.stem, None, sha256, None, source=str(self.path))


def find_source(address: str | None, _: Deployment) -> ModelSource:
    """Return the source of a model by its address.

    Raises:
        SettingsError: The address is invalid.
    """
    if address is None:
        raise SettingsError("serving.model: name a model file")
    return FileSource(Path(address))
