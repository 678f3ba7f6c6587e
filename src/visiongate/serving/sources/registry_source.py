"""A version of a registered model as the source of a served model."""

import logging
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from visiongate.errors import VisiongateError
from visiongate.records.drift_reference import REFERENCE_FILE
from visiongate.records.registry_tags import MODEL_FILE, VERSION_URI
from visiongate.records.served_model import ServedModel
from visiongate.serving.sources.artifact_files import fetch_artifact
from visiongate.serving.sources.cache import ModelCache
from visiongate.serving.sources.model_sources import FileSource, ServedFile

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ModelAddress:
    """MLflow's address of a version: by its number, or by an alias.

    Attributes:
        name: Of the registered model.
        number: Of the version; None for an alias.
        alias: None for a number.
    """

    name: str
    number: str | None
    alias: str | None

    def __str__(self) -> str:
        """Return it as MLflow writes it."""
        return f"models:/{self.name}/{self.number}" if self.number else f"models:/{self.name}@{self.alias}"


class Registry(Protocol):
    """MLflow's registry.

    Attributes:
        address: Without a password, for messages.
    """

    @property
    def address(self) -> str:
        """The address without a password, for messages."""

    def find(self, address: ModelAddress) -> ServedModel:
        """Return a version.

        Raises:
            NoVersionError: There is none.
            UnreachableError: The registry failed.
            DataError: The version has no sha256.
        """

    def locate(self, model: ServedModel) -> str:
        """Return the address of the folder that has a version's file.

        Raises:
            UnreachableError: The registry failed.
        """

    def download(self, artifact: str, target: Path) -> None:
        """Download a file that the registry hands out itself, by its address ``mlflow-artifacts:/…``.

        Raises:
            UnreachableError: The registry failed.
        """


def parse_address(text: str) -> ModelAddress | None:
    """Return MLflow's address of a version; None if the text is none."""
    match = VERSION_URI.fullmatch(text)
    return None if match is None else ModelAddress(*match.groups())


@dataclass(slots=True)
class RegistrySource:
    """A version in a registry; one with an alias may be another version later.

    Files are kept in a cache, so that a service that starts again needs no registry.

    Attributes:
        registry: Where the version is.
        address: Of the version.
        cache: Of its file.
        committed: What to serve as long as there is neither a version nor a copy of one.
    """

    registry: Registry
    address: ModelAddress
    cache: ModelCache
    committed: FileSource | None = None
    _last: tuple[ServedModel, ServedFile] | None = field(default=None, init=False)

    def current(self) -> ServedFile:
        """Return the version that the registry names now; its file is only fetched if it is another one than before.

        Raises:
            UnreachableError: The registry or the file cannot be read.
            VisiongateError: There is no such version, or its file is not the registered one.
        """
        model, last = self.registry.find(self.address), self._last
        if last is None or last[0] != model or not last[1].path.exists():
            last = self._last = model, self._fetch(model)
        return last[1]

    def fallback(self) -> ServedFile | None:
        """Return the last copy of the version, or the model of the work tree."""
        kept = self.cache.recall(self._place)
        if kept is not None:
            path, model = kept
            return ServedFile.of(path, model, f"the last copy of {self._source(model)}")
        try:
            return self.committed.current() if self.committed else None
        except VisiongateError as error:
            logger.warning("%s", error)
            return None

    def _fetch(self, model: ServedModel) -> ServedFile:
        def fetch(name: str, target: Path) -> None:
            folder = self.registry.locate(model)
            fetch_artifact(f"{folder.rstrip('/')}/{name}", target, self.registry.download)

        path = self.cache.find(model) or self.cache.add(model, partial(fetch, MODEL_FILE))
        self.cache.remember(self._place, model)
        file = ServedFile.of(path, model, self._source(model))
        if model.reference_sha256 is None:
            return file
        try:
            self.cache.complete(model, partial(fetch, REFERENCE_FILE))
        except VisiongateError as error:
            logger.warning("%s; `visiongate drift` has no reference for %s", error, file.source)
            return replace(file, reference=None, reference_sha256=None)
        return file

    @property
    def _place(self) -> str:
        return f"{self.address} at {self.registry.address}"

    def _source(self, model: ServedModel) -> str:
        aliases = f" ({', '.join(model.aliases)})" if model.aliases else ""
        return f"{model.name} version {model.version}{aliases} of {self.registry.address}"
