"""The file of a version: how it is stored in MLflow, fetched, and checked to be the one that was judged."""

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visiongate.adapters.mlflow_runs import MODEL_TAG
from visiongate.adapters.mlflow_store import Store, TrackingError
from visiongate.records.files import sha256_of

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel

MODEL_FILE = "model.onnx"  # where MLflow's onnx flavour keeps it
# What loading the model needs; MLflow would find out by loading it in another process, which takes seconds.
REQUIREMENTS = ("mlflow", "numpy", "onnx", "onnxruntime")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model to register."""

    path: Path
    sha256: str
    example: Any  # one image or a few, uint8 N×H×W×C
    classes: int
    description: Mapping[str, Any]  # stored with it, for readers


def store_model(store: Store, name: str, candidate: Candidate, run_id: str) -> "LoggedModel":
    """Store a model as MLflow's onnx flavour; it counts as ready only once the very file is there.

    Args:
        store: Where.
        name: What it is called.
        candidate: The file is stored byte for byte: what is served is what was judged.
        run_id: Of the run that trained it.

    Raises:
        TrackingError: What is there is another file.
    """
    from mlflow.entities import LoggedModelOutput  # noqa: PLC0415 - a second of imports

    client = store.client
    logged = client.create_logged_model(store.experiment_id, name, run_id, {MODEL_TAG: candidate.sha256})
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary) / "model"
        _save_model(candidate, directory, logged, run_id)
        client.log_model_artifacts(logged.model_id, str(directory))
    check_same_file(download_model(store, logged.artifact_location), candidate.sha256, logged.model_uri)
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


def download_model(store: Store, folder: str) -> Path:
    """Return the model's file in a folder of artifacts, where it lies if that is on this machine."""
    from mlflow.artifacts import download_artifacts  # noqa: PLC0415 - a second of imports

    uri = f"{folder.rstrip('/')}/{MODEL_FILE}"
    return Path(download_artifacts(uri, tracking_uri=store.address, registry_uri=store.address))


def check_same_file(path: Path, sha256: str, uri: str) -> None:
    """Refuse a file that is not the one that was registered.

    Raises:
        TrackingError: Its hash is another.
    """
    found = sha256_of(path)
    if found != sha256:
        raise TrackingError(
            f"{uri}: {MODEL_FILE} in the registry has sha256 {found}, and {sha256} was registered; "
            "the stored file was changed: delete that version in MLflow and register again"
        )
