"""MLflow's registry in a local SQLite file, read without MLflow, and without the right to write.

MLflow's client would take two seconds to import, and more than 100 MB of memory. A test compares what both read.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from visiongate.records.served_model import ServedModel, describe_version
from visiongate.serving.sources.model_sources import NoVersionError, UnreachableError
from visiongate.serving.sources.registration_time import add_registration_time
from visiongate.serving.sources.registry_source import ModelAddress

SQLITE = "sqlite:///"
# MLflow marks deleted versions.
VERSION = """
SELECT description, coalesce(storage_location, source), creation_time FROM model_versions
WHERE name = ? AND version = ? AND coalesce(current_stage, '') != 'Deleted_Internal'
"""
TAGS = "SELECT key, value FROM model_version_tags WHERE name = ? AND version = ?"
ALIASES = "SELECT alias FROM registered_model_aliases WHERE name = ? AND version = ? ORDER BY alias"


@dataclass(frozen=True, slots=True)
class SqliteRegistry:
    """MLflow's database.

    Attributes:
        path: The file.
        timeout: Seconds to wait while MLflow writes.
    """

    path: Path
    timeout: float

    @property
    def address(self) -> str:
        """The address, as MLflow writes it."""
        return f"{SQLITE}{self.path}"

    def find(self, address: ModelAddress) -> ServedModel:
        """Return a version; see `Registry`."""
        with self._open(address) as database:
            number = address.number or _find_alias(database, address)
            description, _, created = self._read(database, address, number)
            key = address.name, number
            aliases = [alias for (alias,) in database.execute(ALIASES, key)]
            tags = dict(database.execute(TAGS, key))
        model = describe_version(address.name, str(number), tags, description, aliases)
        return add_registration_time(model, created)

    def locate(self, model: ServedModel) -> str:
        """Return the address of the folder that has a version's file; see `Registry`."""
        address = ModelAddress(model.name, model.version, None)
        with self._open(address) as database:
            return str(self._read(database, address, model.version)[1])

    def download(self, artifact: str, target: Path) -> None:
        """Raise an error: a file hands nothing out; see `Registry`."""
        raise UnreachableError(
            f"{artifact}: an MLflow server has it, not {target.name}; set serving.registry.uri to it"
        )

    def _read(
        self, database: sqlite3.Connection, address: ModelAddress, number: str | None
    ) -> tuple[str | None, str, int | None]:
        """Return the description and the folder of a version, and when it was registered, in milliseconds since 1970."""
        row: tuple[str | None, str, int | None] | None = database.execute(
            VERSION, (address.name, number)
        ).fetchone()
        if row is None:
            raise NoVersionError(
                f"{address}: no such version at {self.address}; list the versions with `visiongate registry list`"
            )
        return row

    @contextmanager
    def _open(self, address: ModelAddress) -> Iterator[sqlite3.Connection]:
        if not self.path.exists():
            raise UnreachableError(
                f"{address}: there is no registry at {self.address}; set serving.registry.uri, or register a model"
            )
        uri = f"file:{quote(str(self.path.absolute()))}?mode=ro"
        try:
            with closing(sqlite3.connect(uri, uri=True, timeout=self.timeout)) as database:
                yield database
        except sqlite3.Error as error:
            raise UnreachableError(f"MLflow at {self.address}: {error}") from error


def _find_alias(database: sqlite3.Connection, address: ModelAddress) -> str | None:
    query = "SELECT version FROM registered_model_aliases WHERE name = ? AND alias = ?"
    row = database.execute(query, (address.name, address.alias)).fetchone()
    return str(row[0]) if row else None
