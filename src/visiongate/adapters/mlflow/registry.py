"""MLflow's model registry: versions, their tags, and the aliases that point to them.

A version is one model file, identified by its sha256. ``champion`` points to the version to serve, ``challenger`` to the last
version that passed the gate and was not promoted.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from visiongate.adapters.mlflow.model_files import Candidate, check_same_file, download_file, store_model
from visiongate.adapters.mlflow.store import Store, TrackingError, mlflow_errors, unless_missing
from visiongate.records.drift_reference import REFERENCE_FILE
from visiongate.records.files import sha256_of
from visiongate.records.registry_tags import (
    CHAMPION,
    MODEL_FILE,
    MODEL_TAG,
    REFERENCE_TAG,
    THRESHOLD_TAG,
    VERSION_URI,
)

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion

DECISION_TAG, REASON_TAG = "visiongate.decision", "visiongate.reason"
PREVIOUS_TAG = "visiongate.previous_champion"
# Numbers of the champions before a version, the latest first.
HISTORY_TAG = "visiongate.champions_before"
# Set when a version first passes the gate, and kept.
PASSED_TAG = "visiongate.gate_passed"
# When, by whom and why a version was rolled back, or promoted without a comparison.
ROLLED_BACK_TAG, BY_HAND_TAG = "visiongate.rolled_back", "visiongate.promoted_by_hand"
# Verdicts of `visiongate rollout`, the latest first, a line each.
ROLLOUT_TAG = "visiongate.rollout"
LINK_TAG = "mlflow.modelVersions"
URI_START = "models:/"
# Limits of MLflow, in characters.
MAX_TAG = 5000
MAX_DESCRIPTION = 5000

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Version:
    """A version in the registry.

    Attributes:
        name: Of the registered model.
        number: From 1.
        aliases: That point to it.
        tags: By name.
        run_id: Of the run that trained it.
        created: Milliseconds since 1970.
        description: Markdown.
    """

    name: str
    number: str
    aliases: tuple[str, ...]
    tags: Mapping[str, str]
    run_id: str = ""
    created: int = 0
    description: str = ""

    @property
    def uri(self) -> str:
        """MLflow's address of the version."""
        return f"models:/{self.name}/{self.number}"

    @property
    def passed(self) -> bool:
        """Whether the version ever passed the gate."""
        return PASSED_TAG in self.tags or self.tags.get(DECISION_TAG) in {"registered", "promoted"}

    @property
    def threshold(self) -> float | None:
        """The probability from which the second of two classes is predicted; None for the likelier class."""
        return float(self.tags[THRESHOLD_TAG]) if THRESHOLD_TAG in self.tags else None

    @property
    def before(self) -> tuple[str, ...]:
        """Numbers of the champions before it, the latest first."""
        return tuple((self.tags.get(HISTORY_TAG) or self.tags.get(PREVIOUS_TAG, "")).split())


def find_version(store: Store, name: str, sha256: str) -> Version | None:
    """Return the version with this file, the first if there are several; None if there is none.

    Raises:
        TrackingError: MLflow failed.
    """
    with mlflow_errors(store.address):
        versions = store.client.search_model_versions(f"name = '{name}' and tags.`{MODEL_TAG}` = '{sha256}'")
        return (
            read_version(store, name, min((item.version for item in versions), key=int)) if versions else None
        )


def find_champion(store: Store, name: str) -> Version | None:
    """Return the version to serve, None if there is none.

    Raises:
        TrackingError: MLflow failed.
    """
    return find_alias(store, name, CHAMPION)


def find_alias(store: Store, name: str, alias: str) -> Version | None:
    """Return the version that an alias points to, None if there is none.

    Raises:
        TrackingError: MLflow failed.
    """
    with mlflow_errors(store.address):
        number = read_aliases(store, name).get(alias)
    version = find_number(store, name, number) if number else None
    if number and version is None:
        logger.warning("%s@%s points to the missing version %s; ignoring it", name, alias, number)
    return version


def find_number(store: Store, name: str, number: str) -> Version | None:
    """Return a version by its number, None if it does not exist.

    Raises:
        TrackingError: MLflow failed.
    """
    with mlflow_errors(store.address):
        return unless_missing(lambda: read_version(store, name, number))


def find_uri(store: Store, uri: str) -> Version:
    """Return the version at MLflow's address.

    Args:
        store: The registry.
        uri: ``models:/NAME/3`` or ``models:/NAME@champion``.

    Raises:
        TrackingError: MLflow failed, or there is no such version.
    """
    match = VERSION_URI.fullmatch(uri)
    if match is None:
        raise TrackingError(f"{uri}: invalid version; use models:/NAME/3 or models:/NAME@champion")
    name, number, alias = match.groups()
    version = find_number(store, name, number) if number else find_alias(store, name, alias)
    if version is None:
        raise TrackingError(f"{uri}: no such version; list the versions with `visiongate registry list`")
    return version


def find_selected(store: Store, name: str, selection: str) -> Version | None:
    """Return the version that a user names, None if it does not exist.

    Args:
        store: The registry.
        name: Of the registered model.
        selection: A number, an alias, or MLflow's address as `find_uri` takes it.

    Raises:
        TrackingError: MLflow failed, or there is no version at the address.
    """
    if selection.startswith(URI_START):
        return find_uri(store, selection)
    find = find_number if selection.isdecimal() else find_alias
    return find(store, name, selection)


def list_versions(store: Store, name: str) -> list[Version]:
    """Return the versions of a registered model, the latest first.

    Raises:
        TrackingError: MLflow failed.
    """
    with mlflow_errors(store.address):
        aliases = read_aliases(store, name).items()
        items: list[ModelVersion] = []
        token: str | None = ""
        while token is not None:
            page = store.client.search_model_versions(f"name = '{name}'", page_token=token or None)
            items += page
            token = page.token or None
    versions = [
        _convert(item, tuple(sorted(alias for alias, number in aliases if number == str(item.version))))
        for item in items
    ]
    return sorted(versions, key=lambda version: int(version.number), reverse=True)


def add_version(
    store: Store, name: str, candidate: Candidate, run_id: str, tags: Mapping[str, str]
) -> Version:
    """Store a model and register it as a new version.

    Args:
        store: Where to register it.
        name: Of the registered model, which is created if it does not exist.
        candidate: The model.
        run_id: Of the run that trained it.
        tags: Of the version, besides the file's sha256.

    Raises:
        TrackingError: MLflow failed, or the stored file differs.
    """
    with mlflow_errors(store.address):
        model = store_model(store, name, candidate, run_id)
        create_registered_model(store, name)
        # The source is the folder, because MLflow would look up `models:/…` in its global address.
        created = store.client.create_model_version(
            name,
            model.artifact_location,
            run_id,
            {**tags, MODEL_TAG: candidate.sha256},
            model_id=model.model_id,
        )
        return link_version(store, read_version(store, name, created.version))


def link_version(store: Store, version: Version) -> Version:
    """Link the stored model to its version, as MLflow's pages show it; an interrupted registration has not done so.

    Raises:
        TrackingError: MLflow failed.
    """
    with mlflow_errors(store.address):
        link = json.dumps([{"name": version.name, "version": version.number}])
        for model in _find_stored_models(store, version):
            if model.tags.get(LINK_TAG) != link:
                store.client.set_logged_model_tags(model.model_id, {LINK_TAG: link})
    return version


def describe_version(store: Store, version: Version, text: str) -> None:
    """Set a version's description, which MLflow's pages show as Markdown.

    Raises:
        TrackingError: MLflow failed.
    """
    with mlflow_errors(store.address):
        store.client.update_model_version(version.name, version.number, text[:MAX_DESCRIPTION])


def fetch_model(store: Store, version: Version) -> Path:
    """Return the path of a version's file, downloaded unless it is on this machine, and checked.

    Raises:
        TrackingError: MLflow failed, or the file is not the registered one.
    """
    if MODEL_TAG not in version.tags:
        raise TrackingError(
            f"{version.uri}: registered without a sha256; register it with `visiongate registry register`"
        )
    return _fetch(store, version, MODEL_FILE, version.tags[MODEL_TAG])


def fetch_reference(store: Store, version: Version) -> Path | None:
    """Return the path of a version's reference, downloaded unless it is on this machine, and checked; None if it has none.

    Raises:
        TrackingError: MLflow failed, or the file is not the registered one.
    """
    sha256 = version.tags.get(REFERENCE_TAG)
    return None if sha256 is None else _fetch(store, version, REFERENCE_FILE, sha256)


def attach_reference(store: Store, version: Version, path: Path) -> Version:
    """Store a reference beside a version's file, unless it is there; it replaces an earlier one.

    Args:
        store: The registry.
        version: The version.
        path: A file of this name.

    Raises:
        TrackingError: MLflow failed.
    """
    sha256 = sha256_of(path)
    if version.tags.get(REFERENCE_TAG) == sha256 and _is_stored(store, version):
        return version
    with mlflow_errors(store.address):
        models = _find_stored_models(store, version)
        for model in models:
            store.client.log_model_artifact(model.model_id, str(path))
    if not models:
        logger.warning("%s: the run that stored its file is gone, so that it gets no reference", version.uri)
        return version
    # The tag comes last: a version that says that it has a reference has it.
    return set_tags(store, version, {REFERENCE_TAG: sha256})


def _find_stored_models(store: Store, version: Version) -> "list[LoggedModel]":
    """Return the stored model of a version, as its run has it; none if the run is gone."""
    source = store.client.get_model_version(version.name, version.number).source
    run = unless_missing(lambda: store.client.get_run(version.run_id))
    outputs = run.outputs.model_outputs if run and run.outputs else ()
    models = [store.client.get_logged_model(output.model_id) for output in outputs]
    return [model for model in models if model.artifact_location == source]


def _is_stored(store: Store, version: Version) -> bool:
    try:
        return fetch_reference(store, version) is not None
    except TrackingError:
        return False


def _fetch(store: Store, version: Version, name: str, sha256: str) -> Path:
    with mlflow_errors(store.address):
        folder = store.client.get_model_version_download_uri(version.name, version.number)
        path = download_file(store, folder, name)
    check_same_file(path, sha256, version.uri)
    return path


def set_tags(store: Store, version: Version, tags: Mapping[str, str]) -> Version:
    """Add or replace tags of a version; unchanged tags are not sent.

    Raises:
        TrackingError: MLflow failed.
    """
    with mlflow_errors(store.address):
        for key, value in tags.items():
            if version.tags.get(key) != value:
                store.client.set_model_version_tag(version.name, version.number, key, value)
        return read_version(store, version.name, version.number)


def clear_tag(store: Store, version: Version, key: str) -> Version:
    """Remove a tag of a version, if it has it.

    Raises:
        TrackingError: MLflow failed.
    """
    if key not in version.tags:
        return version
    with mlflow_errors(store.address):
        store.client.delete_model_version_tag(version.name, version.number, key)
        return read_version(store, version.name, version.number)


def refresh(store: Store, version: Version) -> Version:
    """Return a version with its current tags and aliases.

    Raises:
        TrackingError: MLflow failed.
    """
    with mlflow_errors(store.address):
        return read_version(store, version.name, version.number)


def read_version(store: Store, name: str, number: str) -> Version:
    """Return a version that exists."""
    item: ModelVersion = store.client.get_model_version(name, number)
    return _convert(item, tuple(sorted(item.aliases)))


def read_aliases(store: Store, name: str) -> dict[str, str]:
    """Return the version that each alias points to; empty if the model is not registered."""
    models = store.client.search_registered_models(f"name = '{name}'")
    return {alias: str(number) for alias, number in models[0].aliases.items()} if models else {}


def set_alias(store: Store, version: Version, alias: str) -> None:
    """Point an alias to a version.

    Raises:
        TrackingError: MLflow failed.
    """
    with mlflow_errors(store.address):
        store.client.set_registered_model_alias(version.name, alias, version.number)


def clear_alias(store: Store, version: Version, alias: str) -> None:
    """Delete an alias, if it points to this version.

    Raises:
        TrackingError: MLflow failed.
    """
    with mlflow_errors(store.address):
        if read_aliases(store, version.name).get(alias) == version.number:
            store.client.delete_registered_model_alias(version.name, alias)


def create_registered_model(store: Store, name: str) -> None:
    """Create the registered model, unless it exists.

    Raises:
        TrackingError: MLflow failed.
    """
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    with mlflow_errors(store.address):
        try:
            store.client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise


def _convert(item: "ModelVersion", aliases: tuple[str, ...]) -> Version:
    created = item.creation_timestamp or 0
    return Version(
        item.name,
        str(item.version),
        aliases,
        dict(item.tags),
        item.run_id or "",
        created,
        item.description or "",
    )
