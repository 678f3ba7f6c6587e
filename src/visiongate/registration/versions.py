"""The run and the version of an evaluated model in MLflow."""

from dataclasses import asdict
from pathlib import Path

from visiongate import paths
from visiongate.adapters.git import UNKNOWN
from visiongate.adapters.mlflow.model_files import Candidate
from visiongate.adapters.mlflow.registry import (
    Version,
    add_version,
    attach_reference,
    clear_tag,
    find_version,
    link_version,
    set_tags,
)
from visiongate.adapters.mlflow.runs import (
    InputDataset,
    find_or_create_run,
    find_run,
    log_dataset,
    log_reports,
    log_results,
    read_artifact,
)
from visiongate.adapters.mlflow.store import Store
from visiongate.errors import DataError
from visiongate.models.predictor import Predictor
from visiongate.records.manifest import MANIFEST_FILE, parse_manifest
from visiongate.records.predictions import PREDICTIONS_FILE, parse_predictions
from visiongate.records.registry_tags import THRESHOLD_TAG
from visiongate.registration.evaluated_model import EvaluatedModel
from visiongate.registration.pairing import Champion
from visiongate.settings.dataset import Dataset

DIRTY_TAG = "visiongate.git_dirty"
# Files of the run. The manifest says which images the model has learned from. The commit may have another `dvc.lock`, because
# that of the run is committed later.
REPORTS = (
    paths.PARAMS,
    paths.LOCK,
    paths.TRAINING_ENVIRONMENT,
    paths.HISTORY.parent,
    paths.TRANSFORMED / MANIFEST_FILE,
    paths.EVALUATION,
    paths.LATENCY,
    Path("logs/train.log"),
)
# As `log_reports` stores them.
PREDICTIONS_ARTIFACT = f"evaluation/{PREDICTIONS_FILE}"


def log_evaluation(store: Store, model: EvaluatedModel, root: Path) -> str:
    """Add the evaluation of a model to the run that trained it; return the run's id.

    Args:
        store: Where the run is, or is created from the records.
        model: The model.
        root: The work tree, whose reports become files of the run.

    Raises:
        TrackingError: MLflow failed.
    """
    title = f"train {model.description.network}"
    epochs = [epoch.defined() for epoch in model.history]
    run_id = find_or_create_run(store, model.sha256, title, model.lineage.params, epochs)
    tags = {"visiongate.gate": "passed" if model.verdict.passed else "failed"}
    log_results(store, run_id, {f"test/{name}": value for name, value in model.metrics.items()}, tags)
    log_reports(store, run_id, [root / path for path in REPORTS if (root / path).exists()])
    return run_id


def log_data(store: Store, model: EvaluatedModel, dataset: Dataset, run_id: str) -> None:
    """Add the data set to the run of a model.

    Raises:
        TrackingError: MLflow failed.
    """
    digest = model.lineage.data_md5.get(paths.RAW.as_posix()) or UNKNOWN
    images = model.images.manifest.num_rows
    log_dataset(store, run_id, InputDataset(dataset.name, digest, dataset.homepage or dataset.name, images))


def find_or_add_version(store: Store, name: str, model: EvaluatedModel, run_id: str) -> Version:
    """Return the version of the model's file; add it if it does not exist.

    A version that was first registered from a dirty work tree takes over the lineage of a clean one with the same file.

    Args:
        store: The registry.
        name: Of the registered model.
        model: The model.
        run_id: Of the run that trained it.

    Raises:
        TrackingError: MLflow failed.
    """
    tags = {**model.commit.tags(), **model.lineage.tags()}
    version = find_version(store, name, model.sha256)
    if version is None:
        example, description = model.test.images[:1], asdict(model.description)
        candidate = Candidate(model.file, model.sha256, example, description)
        return add_version(store, name, candidate, run_id, tags)
    link_version(store, version)
    if model.commit.dirty is False and version.tags.get(DIRTY_TAG) != "false":
        return set_tags(store, version, tags)
    return version


def read_champion(store: Store, version: Version, model: Predictor | None) -> Champion:
    """Return the champion with its predictions and the images that it has learned from, as its run has them.

    Args:
        store: The registry.
        version: The champion.
        model: Its loaded file; None if it takes other images than the challenger.

    Raises:
        TrackingError: MLflow failed.
    """
    is_recorded = find_run(store, version.run_id) is not None
    predictions = read_artifact(store, version.run_id, PREDICTIONS_ARTIFACT) if is_recorded else None
    manifest = read_artifact(store, version.run_id, MANIFEST_FILE) if is_recorded else None
    return Champion(
        model,
        version.threshold,
        None if predictions is None else parse_predictions(predictions, f"{version.uri}: {PREDICTIONS_FILE}"),
        None if manifest is None else learned_images(manifest, f"{version.uri}: {MANIFEST_FILE}"),
    )


def learned_images(manifest: bytes, source: str) -> frozenset[str] | None:
    """Return the sha256 of the images that a model was trained or validated on: with cross-validation, all.

    Return None if the manifest does not say so, because an older version wrote it.
    """
    try:
        table = parse_manifest(manifest, ("sha256", "split", "fold"), source)
    except DataError:
        return None
    rows = zip(*(table.column(name).to_pylist() for name in table.column_names), strict=True)
    return frozenset(sha256 for sha256, split, fold in rows if split != "test" or fold is not None)


def record_evaluation(store: Store, version: Version, model: EvaluatedModel) -> Version:
    """Record the decision threshold that the version was evaluated with, and the reference for `visiongate drift`.

    Raises:
        TrackingError: MLflow failed.
    """
    if model.reference is not None:
        version = attach_reference(store, version, model.reference)
    if model.threshold is None:
        return clear_tag(store, version, THRESHOLD_TAG)
    return set_tags(store, version, {THRESHOLD_TAG: repr(model.threshold)})
