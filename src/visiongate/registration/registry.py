"""The model registry: versions with their lineage, and the aliases that name the one to serve.

A version is one model file, found again by its sha256. ``champion`` names the version to serve and
``challenger`` the last that passed the gate without being shown to be better. Aliases are moved last, each in
one step, so that whoever is stopped half-way leaves every alias where it was, and the next run ends the work.
"""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from visiongate.adapters.mlflow_runs import MODEL_TAG
from visiongate.adapters.mlflow_store import Store, TrackingError, explained
from visiongate.registration.promotion import Decision
from visiongate.registration.stored_model import Candidate, check_same_file, download_model, store_model

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

CHAMPION, CHALLENGER = "champion", "challenger"
DECISION_TAG, REASON_TAG = "visiongate.decision", "visiongate.reason"
TAG_LENGTH = 5000  # characters, the most that MLflow takes
PREVIOUS_TAG = "visiongate.previous_champion"
LINE_TAG = "visiongate.champions_before"  # numbers, the latest first
PASSED_TAG = "visiongate.gate_passed"  # set once a version has passed, and kept
ROLLED_BACK_TAG = "visiongate.rolled_back"  # when and why it was taken out of service
THRESHOLD_TAG = "visiongate.threshold"  # probability from which the second of two classes is answered; absent: the likelier
LINK_TAG = "mlflow.modelVersions"
DESCRIPTION_LENGTH = 5000  # MLflow's limit

logger = logging.getLogger(__name__)
Answer = TypeVar("Answer")


class ChampionMovedError(TrackingError):
    """The champion is no longer the one that a model was compared with."""


@dataclass(frozen=True, slots=True)
class Version:
    """A version in the registry."""

    name: str
    number: str
    aliases: tuple[str, ...]
    tags: Mapping[str, str]
    run_id: str = ""
    created: int = 0  # milliseconds since 1970

    @property
    def uri(self) -> str:
        """Its name in MLflow."""
        return f"models:/{self.name}/{self.number}"

    @property
    def passed(self) -> bool:
        """Whether it ever passed the gate."""
        return PASSED_TAG in self.tags or self.tags.get(DECISION_TAG) in {"registered", "promoted"}

    @property
    def threshold(self) -> float | None:
        """The probability from which it answers the second of two classes; None where it answers the likelier."""
        return float(self.tags[THRESHOLD_TAG]) if THRESHOLD_TAG in self.tags else None

    @property
    def before(self) -> tuple[str, ...]:
        """The champions before it, the latest first."""
        return tuple((self.tags.get(LINE_TAG) or self.tags.get(PREVIOUS_TAG, "")).split())


def find_version(store: Store, name: str, sha256: str) -> Version | None:
    """Find the version that holds this very file, the first if there are several.

    Raises:
        TrackingError: MLflow failed.
    """
    with explained(store.address):
        found = store.client.search_model_versions(f"name = '{name}' and tags.`{MODEL_TAG}` = '{sha256}'")
        return _read(store, name, min((item.version for item in found), key=int)) if found else None


def find_champion(store: Store, name: str) -> Version | None:
    """Find the version to serve, if there is one yet.

    An alias that names a version that is not there, which MLflow leaves when its database is edited by hand, is told and
    taken for none.

    Raises:
        TrackingError: MLflow failed.
    """
    with explained(store.address):
        number = read_aliases(store, name).get(CHAMPION)
    champion = find_number(store, name, number) if number else None
    if number and champion is None:
        logger.warning(
            "%s@%s names version %s, which is not there: it is taken for none", name, CHAMPION, number
        )
    return champion


def find_number(store: Store, name: str, number: str) -> Version | None:
    """Find a version by its number.

    Raises:
        TrackingError: MLflow failed.
    """
    with explained(store.address):
        return unless_missing(lambda: _read(store, name, number))


def unless_missing(ask: Callable[[], Answer]) -> Answer | None:
    """Ask MLflow for something that may have been deleted; None where it is not there."""
    from mlflow.exceptions import MlflowException  # noqa: PLC0415 - a second of imports

    try:
        return ask()
    except MlflowException as error:
        if error.error_code not in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
            raise
        return None


def list_versions(store: Store, name: str) -> list[Version]:
    """List the versions that are there, the latest first.

    Raises:
        TrackingError: MLflow failed.
    """
    with explained(store.address):
        aliases = read_aliases(store, name).items()
        found: list[ModelVersion] = []
        token: str | None = ""
        while token is not None:
            page = store.client.search_model_versions(f"name = '{name}'", page_token=token or None)
            found += page
            token = page.token or None
    versions = [
        _convert(item, tuple(sorted(alias for alias, number in aliases if number == str(item.version))))
        for item in found
    ]
    return sorted(versions, key=lambda version: int(version.number), reverse=True)


def add_version(
    store: Store, name: str, candidate: Candidate, run_id: str, tags: Mapping[str, str]
) -> Version:
    """Store a model as MLflow's onnx flavour and register it.

    Args:
        store: Where.
        name: Of the registered model, which is made if there is none.
        candidate: The file is stored byte for byte: what is served is what was judged.
        run_id: Of the run that trained it.
        tags: Of the version, beside the file's sha256.

    Raises:
        TrackingError: MLflow failed, or gives back another file than it was given.
    """
    with explained(store.address):
        model = store_model(store, name, candidate, run_id)
        make_registered_model(store, name)
        # The source is the folder, not `models:/…`, which MLflow looks up in its global address, not in ours.
        made = store.client.create_model_version(
            name,
            model.artifact_location,
            run_id,
            {**tags, MODEL_TAG: candidate.sha256},
            model_id=model.model_id,
        )
        return link_version(store, _read(store, name, made.version))


def link_version(store: Store, version: Version) -> Version:
    """Have the stored model name the version made of it, as MLflow's pages show; who was stopped in between has not.

    Raises:
        TrackingError: MLflow failed.
    """
    with explained(store.address):
        source = store.client.get_model_version(version.name, version.number).source
        link = json.dumps([{"name": version.name, "version": version.number}])
        run = unless_missing(lambda: store.client.get_run(version.run_id))
        for output in run.outputs.model_outputs if run and run.outputs else ():
            model = store.client.get_logged_model(output.model_id)
            if model.artifact_location == source and model.tags.get(LINK_TAG) != link:
                store.client.set_logged_model_tags(model.model_id, {LINK_TAG: link})
    return version


def describe_version(store: Store, version: Version, text: str) -> None:
    """Write a version's description, which MLflow's pages show as Markdown.

    Raises:
        TrackingError: MLflow failed.
    """
    with explained(store.address):
        store.client.update_model_version(version.name, version.number, text[:DESCRIPTION_LENGTH])


def fetch_model(store: Store, version: Version) -> Path:
    """Return the file of a version, downloaded if it is not on this machine, and checked against its sha256.

    Raises:
        TrackingError: MLflow failed, or has not the file that was registered.
    """
    with explained(store.address):
        folder = store.client.get_model_version_download_uri(version.name, version.number)
        path = download_model(store, folder)
    check_same_file(path, version.tags[MODEL_TAG], version.uri)
    return path


def set_tags(store: Store, version: Version, tags: Mapping[str, str]) -> Version:
    """Add or replace tags of a version; those that it has are not written again.

    Raises:
        TrackingError: MLflow failed.
    """
    with explained(store.address):
        for key, value in tags.items():
            if version.tags.get(key) != value:
                store.client.set_model_version_tag(version.name, version.number, key, value)
        return _read(store, version.name, version.number)


def clear_tag(store: Store, version: Version, key: str) -> Version:
    """Take a tag from a version, if it has it.

    Raises:
        TrackingError: MLflow failed.
    """
    if key not in version.tags:
        return version
    with explained(store.address):
        store.client.delete_model_version_tag(version.name, version.number, key)
        return _read(store, version.name, version.number)


def apply_decision(
    store: Store,
    version: Version,
    champion: Version | None,
    decision: Decision,
    renew: Callable[[], None] = lambda: None,
) -> Version:
    """Write a decision to a version's tags, then move the aliases, and return the version as it is then.

    A champion that the gate now rejects stays champion: whoever serves it must not lose it before another is
    promoted.

    Args:
        store: Where.
        version: What was decided about.
        champion: The version to serve when that was decided.
        decision: What was decided.
        renew: Called right before the aliases are moved; it raises where others may move them at the same time.

    Raises:
        ChampionMovedError: There is another champion by now. No alias was moved.
        TrackingError: MLflow failed.
    """
    set_tags(store, version, _decision_tags(version, champion, decision))
    if decision.moves_aliases:
        renew()
        now = find_champion(store, version.name)
        if (now and now.number) != (champion and champion.number):
            raise ChampionMovedError(
                f"registered model {version.name}: another version became champion meanwhile; run again"
            )
        _move_aliases(store, version, decision)
    with explained(store.address):
        return _read(store, version.name, version.number)


def _move_aliases(store: Store, version: Version, decision: Decision) -> None:
    """Move ``champion`` first: whoever is stopped in between leaves a challenger too many, which the next run takes away."""
    with explained(store.address):
        if decision.verdict == "promoted":
            store.client.set_registered_model_alias(version.name, CHAMPION, version.number)
        if decision.verdict == "registered":
            store.client.set_registered_model_alias(version.name, CHALLENGER, version.number)
        elif read_aliases(store, version.name).get(CHALLENGER) == version.number:
            store.client.delete_registered_model_alias(version.name, CHALLENGER)


def _decision_tags(version: Version, champion: Version | None, decision: Decision) -> dict[str, str]:
    if not decision.moves_aliases and DECISION_TAG in version.tags:
        return {}  # what was decided when it was judged is worth more
    tags = {DECISION_TAG: decision.verdict, REASON_TAG: decision.reason[:TAG_LENGTH]}
    if decision.verdict != "rejected":
        tags[PASSED_TAG] = "true"
    if champion is None or decision.verdict != "promoted":
        return tags
    if champion.number != version.number:
        return {**tags, **tags_of_line(version, champion)}
    # It was promoted before: what it was promoted for is worth more than that it is champion already.
    return tags if version.tags.get(DECISION_TAG) != decision.verdict else {}


def tags_of_line(version: Version, champion: Version) -> dict[str, str]:
    """Return the tags by which a new champion remembers those before it."""
    line = dict.fromkeys((champion.number, *champion.before, *version.before))
    rest = " ".join(number for number in line if number != version.number)
    return {PREVIOUS_TAG: champion.number, LINE_TAG: rest}


def _read(store: Store, name: str, number: str) -> Version:
    found: ModelVersion = store.client.get_model_version(name, number)
    return _convert(found, tuple(sorted(found.aliases)))


def _convert(found: "ModelVersion", aliases: tuple[str, ...]) -> Version:
    return Version(
        found.name,
        str(found.version),
        aliases,
        dict(found.tags),
        found.run_id or "",
        found.creation_timestamp or 0,
    )


def read_aliases(store: Store, name: str) -> dict[str, str]:
    """Return the version that each alias names; nothing if the model is not registered yet."""
    found = store.client.search_registered_models(f"name = '{name}'")
    return {alias: str(number) for alias, number in found[0].aliases.items()} if found else {}


def make_registered_model(store: Store, name: str) -> None:
    """Make the registered model, if there is none of that name.

    Raises:
        TrackingError: MLflow failed.
    """
    from mlflow.exceptions import MlflowException  # noqa: PLC0415 - a second of imports

    with explained(store.address):
        try:
            store.client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
