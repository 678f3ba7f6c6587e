"""Model files in MLflow: stored, downloaded, and compared with the recorded sha256."""

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visiongate.adapters.mlflow.store import Store, TrackingError
from visiongate.records.files import sha256_of
from visiongate.records.registry_tags import MODEL_FILE, MODEL_TAG

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel
    from onnx import ModelProto

# The packages that loading the model requires. MLflow would detect them by loading it in another process, which takes seconds.
REQUIREMENTS = ("mlflow", "numpy", "onnx", "onnxruntime")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model to register.

    Attributes:
        path: The ONNX file.
        sha256: Of the file.
        example: One or a few images, uint8 N×H×W×C.
        description: Metadata that is stored with the model.
    """

    path: Path
    sha256: str
    example: Any
    description: Mapping[str, Any]


def store_model(store: Store, name: str, candidate: Candidate, run_id: str) -> "LoggedModel":
    """Store a model as MLflow's onnx flavor; it is marked ready once the downloaded file equals the given one.

    Args:
        store: Where to store it.
        name: Name of the model.
        candidate: The file is stored byte for byte, so that the served file is the evaluated file.
        run_id: Of the run that trained it.

    Raises:
        TrackingError: The stored file differs.
    """
    from mlflow.entities import LoggedModelOutput  # noqa: PLC0415

    client = store.client
    logged = client.create_logged_model(store.experiment_id, name, run_id, {MODEL_TAG: candidate.sha256})
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary) / "model"
        _save_model(candidate, directory, logged, run_id)
        client.log_model_artifacts(logged.model_id, str(directory))
    check_same_file(download_file(store, logged.artifact_location), candidate.sha256, logged.model_uri)
    return client.finalize_logged_model(logged.model_id, "READY")


def _save_model(candidate: Candidate, directory: Path, logged: "LoggedModel", run_id: str) -> None:
    import mlflow.onnx  # noqa: PLC0415
    import onnx  # noqa: PLC0415

    graph = onnx.load(candidate.path)
    model = mlflow.models.Model(
        artifact_path=logged.artifact_location,
        model_uuid=logged.model_id,
        model_id=logged.model_id,
        run_id=run_id,
    )
    mlflow.onnx.save_model(
        graph,
        str(directory),
        mlflow_model=model,
        signature=_signature(candidate, graph),
        input_example={"images": candidate.example},
        pip_requirements=[f"{package}=={installed_version(package)}" for package in REQUIREMENTS],
        # The model was evaluated with this provider.
        onnx_execution_providers=["CPUExecutionProvider"],
        metadata=dict(candidate.description),
        save_as_external_data=False,
    )
    # MLflow serialized the graph again, which may change its bytes.
    shutil.copyfile(candidate.path, directory / MODEL_FILE)


def _signature(candidate: Candidate, model: "ModelProto") -> Any:  # noqa: ANN401
    """Return the shapes of the images and of each output; the number of images is open."""
    import numpy as np  # noqa: PLC0415
    from mlflow.models import ModelSignature  # noqa: PLC0415
    from mlflow.types import Schema, TensorSpec  # noqa: PLC0415

    images = TensorSpec(np.dtype("uint8"), (-1, *candidate.example.shape[1:]), "images")
    shapes = {each.name: each.type.tensor_type.shape.dim[1:] for each in model.graph.output}
    outputs: Any = [
        TensorSpec(np.dtype("float32"), (-1, *(size.dim_value for size in shape)), name)
        for name, shape in shapes.items()
    ]
    return ModelSignature(Schema([images]), Schema(outputs))


def download_file(store: Store, folder: str, name: str = MODEL_FILE) -> Path:
    """Return the path of a file in a folder of artifacts, downloaded unless it is on this machine."""
    from mlflow.artifacts import download_artifacts  # noqa: PLC0415

    uri = f"{folder.rstrip('/')}/{name}"
    return Path(download_artifacts(uri, tracking_uri=store.address, registry_uri=store.address))


def check_same_file(path: Path, sha256: str, uri: str) -> None:
    """Check a stored file against the recorded sha256.

    Raises:
        TrackingError: They differ.
    """
    actual = sha256_of(path)
    if actual != sha256:
        raise TrackingError(
            f"{uri}: {path.name} in the registry has sha256 {actual}, but {sha256} was registered; the stored file was "
            "changed: delete that version in MLflow and register again"
        )
