"""The model registry: versions with their lineage, and the aliases that name the one to serve.

A version is one model file, found again by its sha256. ``champion`` names the version to serve and
``challenger`` the last that passed the gate without being shown to be better. Aliases are moved last, each in
one step, so that whoever is stopped half-way leaves every alias where it was.
"""

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visiongate.files import sha256_of
from visiongate.tracking.promotion import Decision
from visiongate.tracking.runs import MODEL_TAG
from visiongate.tracking.store import Store, TrackingError, explained

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion

CHAMPION, CHALLENGER = "champion", "challenger"
DECISION_TAG, REASON_TAG = "visiongate.decision", "visiongate.reason"
PREVIOUS_TAG = "visiongate.previous_champion"
MODEL_FILE = "model.onnx"  # where MLflow's onnx flavour keeps it
# What loading the model needs; MLflow would find out by loading it in another process, which takes seconds.
REQUIREMENTS = ("mlflow", "numpy", "onnx", "onnxruntime")


@dataclass(frozen=True, slots=True)
class Version:
    """A version in the registry."""

    name: str
    number: str
    aliases: tuple[str, ...]
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model to register."""

    path: Path
    sha256: str
    example: Any  # one image or a few, uint8 N×H×W×C
    classes: int
    description: Mapping[str, Any]  # stored with it, for readers


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

    Raises:
        TrackingError: MLflow failed.
    """
    with explained(store.address):
        number = _aliases(store, name).get(CHAMPION)
        return _read(store, name, number) if number else None


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
        model = _log_model(store, name, candidate, run_id)
        _make_registered_model(store, name)
        # The source is the folder, not `models:/…`, which MLflow looks up in its global address, not in ours.
        made = store.client.create_model_version(
            name,
            model.artifact_location,
            run_id,
            {**tags, MODEL_TAG: candidate.sha256},
            model_id=model.model_id,
        )
        link = json.dumps([{"name": name, "version": str(made.version)}])
        store.client.set_logged_model_tags(model.model_id, {"mlflow.modelVersions": link})
        return _read(store, name, made.version)


def fetch_model(store: Store, version: Version) -> Path:
    """Return the file of a version, downloaded if it is not on this machine, and checked against its sha256.

    Raises:
        TrackingError: MLflow failed, or has not the file that was registered.
    """
    with explained(store.address):
        folder = store.client.get_model_version_download_uri(version.name, version.number)
        path = _download(store, folder)
    _check_same_file(path, version.tags[MODEL_TAG], f"models:/{version.name}/{version.number}")
    return path


def apply_decision(store: Store, version: Version, champion: Version | None, decision: Decision) -> Version:
    """Write a decision to a version's tags, then move the aliases, and return the version as it is then.

    A champion that the gate now rejects stays champion: whoever serves it must not lose it before another is
    promoted.

    Args:
        store: Where.
        version: What was decided about.
        champion: The version to serve until now.
        decision: What was decided.

    Raises:
        TrackingError: MLflow failed.
    """
    with explained(store.address):
        for key, value in _decision_tags(version, champion, decision).items():
            store.client.set_model_version_tag(version.name, version.number, key, value)
        if decision.verdict == "promoted":
            store.client.set_registered_model_alias(version.name, CHAMPION, version.number)
        if decision.verdict == "registered":
            store.client.set_registered_model_alias(version.name, CHALLENGER, version.number)
        elif _aliases(store, version.name).get(CHALLENGER) == version.number:
            store.client.delete_registered_model_alias(version.name, CHALLENGER)
        return _read(store, version.name, version.number)


def _decision_tags(version: Version, champion: Version | None, decision: Decision) -> dict[str, str]:
    tags = {DECISION_TAG: decision.verdict, REASON_TAG: decision.reason}
    if champion is None or decision.verdict != "promoted":
        return tags
    if champion.number != version.number:
        return {**tags, PREVIOUS_TAG: champion.number}
    # It was promoted before: what it was promoted for is worth more than that it is champion already.
    return tags if version.tags.get(DECISION_TAG) != decision.verdict else {}


def _read(store: Store, name: str, number: str) -> Version:
    found: ModelVersion = store.client.get_model_version(name, number)
    return Version(name, str(found.version), tuple(sorted(found.aliases)), dict(found.tags))


def _aliases(store: Store, name: str) -> dict[str, str]:
    """Return the version that each alias names; nothing if the model is not registered yet."""
    found = store.client.search_registered_models(f"name = '{name}'")
    return {alias: str(number) for alias, number in found[0].aliases.items()} if found else {}


def _make_registered_model(store: Store, name: str) -> None:
    from mlflow.exceptions import MlflowException  # noqa: PLC0415 - a second of imports

    try:
        store.client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _log_model(store: Store, name: str, candidate: Candidate, run_id: str) -> "LoggedModel":
    """Store the model and its description; it counts as ready only once the very file is there."""
    from mlflow.entities import LoggedModelOutput  # noqa: PLC0415 - a second of imports

    client = store.client
    logged = client.create_logged_model(store.experiment_id, name, run_id, {MODEL_TAG: candidate.sha256})
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary) / "model"
        _save_model(candidate, directory, logged, run_id)
        client.log_model_artifacts(logged.model_id, str(directory))
    _check_same_file(_download(store, logged.artifact_location), candidate.sha256, logged.model_uri)
    return client.finalize_logged_model(logged.model_id, "READY")


def _save_model(candidate: Candidate, directory: Path, logged: "LoggedModel", run_id: str) -> None:
    import mlflow.onnx  # noqa: PLC0415 - a second of imports
    import onnx  # noqa: PLC0415

    model = mlflow.models.Model(
        artifact_path=logged.artifact_location,
        model_uuid=logged.model_id,
        model_id=logged.model_id,
        run_id=run_id,
    )
    mlflow.onnx.save_model(
        onnx.load(candidate.path),
        str(directory),
        mlflow_model=model,
        signature=_signature(candidate),
        input_example={"images": candidate.example},
        pip_requirements=[f"{package}=={installed_version(package)}" for package in REQUIREMENTS],
        onnx_execution_providers=["CPUExecutionProvider"],  # as it was judged
        metadata=dict(candidate.description),
        save_as_external_data=False,
    )
    # MLflow wrote the graph as it parsed it, which may differ in bytes from the file that was judged.
    shutil.copyfile(candidate.path, directory / MODEL_FILE)


def _signature(candidate: Candidate) -> Any:  # noqa: ANN401 - MLflow's, imported late
    import numpy as np  # noqa: PLC0415
    from mlflow.models import ModelSignature  # noqa: PLC0415
    from mlflow.types import Schema, TensorSpec  # noqa: PLC0415

    images = TensorSpec(np.dtype("uint8"), (-1, *candidate.example.shape[1:]), "images")
    probabilities = TensorSpec(np.dtype("float32"), (-1, candidate.classes), "probabilities")
    return ModelSignature(Schema([images]), Schema([probabilities]))


def _download(store: Store, folder: str) -> Path:
    """Return the model's file in a folder of artifacts, where it lies if that is on this machine."""
    from mlflow.artifacts import download_artifacts  # noqa: PLC0415 - a second of imports

    uri = f"{folder.rstrip('/')}/{MODEL_FILE}"
    return Path(download_artifacts(uri, tracking_uri=store.address, registry_uri=store.address))


def _check_same_file(path: Path, sha256: str, uri: str) -> None:
    found = sha256_of(path)
    if found != sha256:
        raise TrackingError(
            f"{uri}: {MODEL_FILE} in the registry has sha256 {found}, and {sha256} was registered; "
            "the stored file was changed: delete that version in MLflow and register again"
        )
