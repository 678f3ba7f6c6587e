"""A model with its evaluation and its lineage, as the stages before `register` wrote them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from visiongate import paths
from visiongate.adapters.git import Commit
from visiongate.images.integrity import check_arrays
from visiongate.images.pixels import PixelSplit, load_split
from visiongate.models.predictor import Predictor, open_predictor
from visiongate.records.drift_reference import REFERENCE_FILE, read_reference
from visiongate.records.evaluation import read_metrics
from visiongate.records.files import sha256_of
from visiongate.records.history import EpochMetrics, read_history
from visiongate.records.manifest import read_manifest
from visiongate.records.model import ModelDescription, read_model_description
from visiongate.records.predictions import PREDICTIONS_FILE, read_predictions
from visiongate.records.verdict import GateVerdict, read_verdict
from visiongate.registration.lineage import Lineage, read_lineage
from visiongate.registration.pairing import EvaluatedImages

# The stages that a model comes from, in order.
STAGES = ("ingestion", "validation", "preparation", "transformation", "train", "evaluate")
DATA = (paths.RAW, paths.PREPARED, paths.TRANSFORMED)


@dataclass(frozen=True, slots=True)
class EvaluatedModel:
    """A model, its test images, the verdict of the gate, and what it was made from.

    Attributes:
        file: The ONNX file.
        sha256: Of the file.
        predictor: The loaded file.
        description: Network, parameters and preprocessing.
        test: The test images.
        reference: The file for `visiongate drift`; None if it was evaluated by an older version.
        images: Those that it was evaluated on, with its predictions.
        metrics: Of the evaluation.
        history: Of the training, by epoch.
        verdict: Of the gate.
        commit: The commit that is checked out.
        lineage: The data, parameters and file, as ``dvc.lock`` records them.
    """

    file: Path
    sha256: str
    predictor: Predictor
    description: ModelDescription
    test: PixelSplit
    reference: Path | None
    images: EvaluatedImages
    metrics: dict[str, float]
    history: Sequence[EpochMetrics]
    verdict: GateVerdict
    commit: Commit
    lineage: Lineage

    @property
    def threshold(self) -> float | None:
        """The probability from which the second of two classes is predicted; None for the likelier class."""
        return self.metrics.get("threshold")


def read_evaluated_model(root: Path, commit: Commit) -> EvaluatedModel:
    """Read the model of a work tree.

    Args:
        root: The folder of ``dvc.lock``.
        commit: The commit that is checked out there.

    Raises:
        DataError: A file is missing or invalid.
    """
    file, transformed = root / paths.MODEL_ONNX, root / paths.TRANSFORMED
    sha256 = sha256_of(file)
    check_arrays(transformed)
    description = read_model_description(root / paths.MODEL_DESCRIPTION)
    return EvaluatedModel(
        file=file,
        sha256=sha256,
        predictor=open_predictor(file),
        description=description,
        test=load_split(transformed, "test"),
        reference=_find_reference(root / paths.EVALUATION / REFERENCE_FILE, sha256),
        images=EvaluatedImages(
            read_predictions(root / paths.EVALUATION / PREDICTIONS_FILE),
            read_manifest(transformed),
            transformed,
            is_cross_validated=description.transform.get("protocol") == "cross_validation",
        ),
        metrics=read_metrics(root / paths.METRICS),
        history=read_history(root / paths.HISTORY),
        verdict=read_verdict(root / paths.GATE),
        commit=commit,
        lineage=read_lineage(paths.LOCK, STAGES, DATA, paths.MODEL_ONNX, root),
    )


def _find_reference(path: Path, model_sha256: str) -> Path | None:
    if not path.exists():
        return None
    read_reference(path, model_sha256)
    return path
