"""``served.json``: what the registry knows about a model, beside its file, so that the service needs no registry."""

import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from visiongate.errors import DataError
from visiongate.records.drift_reference import REFERENCE_FILE
from visiongate.records.files import atomic_path, sha256_of, write_json
from visiongate.records.registry_tags import (
    COMMIT_TAG,
    LINEAGE_TAG,
    MODEL_FILE,
    MODEL_TAG,
    REFERENCE_TAG,
    THRESHOLD_TAG,
)

SERVED_FILE = "served.json"
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A version of a registered model.

    Attributes:
        name: Of the registered model.
        version: Its number.
        sha256: Of the file.
        threshold: The probability from which the second of two classes is predicted; None for the most probable class.
        card: The model card, as Markdown.
        lineage: The commit, data and parameters that it was made from.
        aliases: That point to the version.
        reference_sha256: Of ``reference.npz`` beside the file; None if the version has none.
    """

    name: str
    version: str
    sha256: str
    threshold: float | None = None
    card: str | None = None
    lineage: Mapping[str, Any] = field(default_factory=dict)
    aliases: list[str] = field(default_factory=list)
    reference_sha256: str | None = None

    @property
    def key(self) -> str:
        """The number and the hash: two registries may have the same number for different files."""
        return f"{self.version}-{self.sha256[:16]}"


def describe_version(
    name: str, version: str, tags: Mapping[str, str], card: str | None, aliases: list[str]
) -> ServedModel:
    """Return what a version's entry in MLflow says.

    Raises:
        DataError: The entry has no sha256, so that its file could not be checked, or an invalid threshold.
    """
    sha256 = tags.get(MODEL_TAG, "")
    if not version.isdecimal() or not _SHA256.fullmatch(sha256):
        raise DataError(
            f"models:/{name}/{version}: registered without a sha256; register it with `visiongate registry register`"
        )
    lineage = {match[1]: value for key, value in tags.items() if (match := LINEAGE_TAG.fullmatch(key))}
    if COMMIT_TAG in tags:
        lineage = {"git_commit": tags[COMMIT_TAG], **lineage}
    try:
        threshold = float(tags[THRESHOLD_TAG]) if THRESHOLD_TAG in tags else None
    except ValueError:
        raise DataError(
            f"models:/{name}/{version}: its tag {THRESHOLD_TAG} is no number: {tags[THRESHOLD_TAG]!r}"
        ) from None
    reference = tags.get(REFERENCE_TAG)
    return ServedModel(name, version, sha256, threshold, card or None, lineage, aliases, reference)


def write_served_folder(
    folder: Path, model: ServedModel, file: Path, reference: Path | None = None
) -> ServedModel:
    """Copy a model's file and its reference into a folder, and describe them there.

    The description comes last: who reads a new one finds the new files.

    Args:
        folder: Where to write. A reference of an earlier version is removed.
        model: The description, to which the hash of the reference is added.
        file: The model's file.
        reference: Its reference, if it has one.
    """
    _copy(file, folder / MODEL_FILE)
    if reference is None:
        (folder / REFERENCE_FILE).unlink(missing_ok=True)
    else:
        _copy(reference, folder / REFERENCE_FILE)
    described = replace(model, reference_sha256=None if reference is None else sha256_of(reference))
    write_served_model(folder / SERVED_FILE, described)
    return described


def _copy(file: Path, target: Path) -> None:
    with atomic_path(target) as temporary:
        shutil.copyfile(file, temporary)


def write_served_model(path: Path, model: ServedModel) -> None:
    """Write a description."""
    write_json(path, asdict(model))


def read_served_model(path: Path) -> ServedModel:
    """Read a description.

    Raises:
        DataError: The file is missing, unreadable or invalid.
    """
    try:
        return TypeAdapter(ServedModel).validate_json(path.read_bytes(), strict=True)
    except OSError as error:
        reason = str(error.strerror)
    except ValidationError as error:
        problem = error.errors()[0]
        reason = "".join(f"{part}: " for part in problem["loc"]) + problem["msg"]
    raise DataError(f"{path}: {reason}; write the folder with `visiongate registry export --to`")
