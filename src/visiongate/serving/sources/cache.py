"""A folder of downloaded versions: each is a folder with the model and its description, as ``registry export`` writes it.

A version appears complete or not at all. Several processes may use the cache at once.
"""

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from visiongate.errors import DataError
from visiongate.records.drift_reference import REFERENCE_FILE
from visiongate.records.files import atomic_path, sha256_of
from visiongate.records.registry_tags import MODEL_FILE
from visiongate.records.served_model import (
    SERVED_FILE,
    ServedModel,
    read_served_model,
    write_served_model,
)

# Versions of a model that are kept, those that were used last.
KEPT = 5
# After which an unfinished download is that of a process that was killed.
ABANDONED_SECONDS = 3600
PART = ".part-"


@dataclass(frozen=True, slots=True)
class ModelCache:
    """A cache in a folder, which is created when it is needed."""

    folder: Path

    def find(self, model: ServedModel) -> Path | None:
        """Return the file of a version; None if it is missing or damaged."""
        path = self._folder(model) / MODEL_FILE
        try:
            if sha256_of(path) != model.sha256:
                return None
            # Its time is that of its last use, more exact than that of the file system.
            os.utime(path.parent, ns=(time.time_ns(), time.time_ns()))
        except OSError:
            return None
        return path

    def add(self, model: ServedModel, fetch: Callable[[Path], None]) -> Path:
        """Add a version and return its file; the oldest versions are deleted.

        Args:
            model: The version.
            fetch: Writes its file to a path.

        Raises:
            DataError: The file is not the registered one, or the folder cannot be written.
        """
        folder = self._folder(model)
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=PART) as temporary:
                part = Path(temporary, folder.name)
                part.mkdir()
                fetch(part / MODEL_FILE)
                _check(part / MODEL_FILE, model)
                write_served_model(part / SERVED_FILE, model)
                # Damaged, as `find` did not return it.
                shutil.rmtree(folder, ignore_errors=True)
                _move(part, folder)
        except OSError as error:
            raise DataError(
                f"{folder}: {error.strerror}; set serving.registry.cache to a folder that can be written"
            ) from None
        self._prune(folder.parent)
        return folder / MODEL_FILE

    def complete(self, model: ServedModel, fetch: Callable[[Path], None]) -> None:
        """Add the reference of a version that is in the cache, unless it is there.

        Args:
            model: A version with a reference.
            fetch: Writes it to a path.

        Raises:
            DataError: The file is not the registered one, or the folder cannot be written.
        """
        path = self._folder(model) / REFERENCE_FILE
        try:
            if path.exists() and sha256_of(path) == model.reference_sha256:
                return
            with atomic_path(path) as temporary:
                fetch(temporary)
                actual = sha256_of(temporary)
                if actual != model.reference_sha256:
                    raise DataError(
                        f"models:/{model.name}/{model.version}: {REFERENCE_FILE} has the sha256 {actual}, not the registered "
                        f"{model.reference_sha256}; register the version again with `visiongate registry register`"
                    )
        except OSError as error:
            raise DataError(f"{path}: {error.strerror}") from None

    def remember(self, place: str, model: ServedModel) -> None:
        """Keep which version a place has."""
        with suppress(OSError):
            write_served_model(self._note(place), model)

    def recall(self, place: str) -> tuple[Path, ServedModel] | None:
        """Return the file and the description of the version that a place had last; None if there is no copy."""
        try:
            model = read_served_model(self._note(place))
        except DataError:
            return None
        path = self.find(model)
        return None if path is None else (path, model)

    def _folder(self, model: ServedModel) -> Path:
        return self.folder / model.name / model.key

    def _note(self, place: str) -> Path:
        return self.folder / "places" / f"{hashlib.sha256(place.encode()).hexdigest()[:16]}.json"

    def _prune(self, folder: Path) -> None:
        """Delete the versions of a model that were used least recently, and what killed processes left."""
        with suppress(OSError):
            used = {path: path.stat().st_mtime for path in folder.iterdir()}
            parts = {path for path in used if path.name.startswith(PART)}
            versions = sorted(used.keys() - parts, key=used.__getitem__, reverse=True)
            abandoned = {path for path in parts if used[path] < time.time() - ABANDONED_SECONDS}
            for path in [*versions[KEPT:], *abandoned]:
                shutil.rmtree(path, ignore_errors=True)


def _check(path: Path, model: ServedModel) -> None:
    actual = sha256_of(path)
    if actual != model.sha256:
        raise DataError(
            f"models:/{model.name}/{model.version}: its file has the sha256 {actual}, not the registered {model.sha256}; "
            "the stored file was changed: delete that version in MLflow and register again"
        )


def _move(part: Path, folder: Path) -> None:
    try:
        part.rename(folder)
    except OSError:
        # Another process was faster.
        if not (folder / MODEL_FILE).exists():
            raise
