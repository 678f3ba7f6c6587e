"""The run and the version of an evaluated model in MLflow."""

from dataclasses import asdict

from visiongate.adapters.mlflow.model_files import Candidate
from visiongate.adapters.mlflow.registry import (
    THRESHOLD_TAG,
    Version,
    add_version,
    clear_tag,
    find_version,
    link_version,
    set_tags,
)
from visiongate.adapters.mlflow.runs import find_or_create_run, log_results
from visiongate.adapters.mlflow.store import Store
from visiongate.registration.evaluated_model import EvaluatedModel

DIRTY_TAG = "visiongate.git_dirty"


def log_test_results(store: Store, model: EvaluatedModel) -> str:
    """Add the test metrics to the run that trained the model; return the run's id.

    Raises:
        TrackingError: MLflow failed.
    """
    title = f"train {model.description.network}"
    epochs = [epoch.defined() for epoch in model.history]
    run_id = find_or_create_run(store, model.sha256, title, model.lineage.params, epochs)
    tags = {"visiongate.gate": "passed" if model.verdict.passed else "failed"}
    log_results(store, run_id, {f"test/{name}": value for name, value in model.metrics.items()}, tags)
    return run_id


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
        classes = len(model.predictor.contract.classes)
        example, description = model.test.images[:1], asdict(model.description)
        candidate = Candidate(model.file, model.sha256, example, classes, description)
        return add_version(store, name, candidate, run_id, tags)
    link_version(store, version)
    if model.commit.dirty is False and version.tags.get(DIRTY_TAG) != "false":
        return set_tags(store, version, tags)
    return version


def set_threshold(store: Store, version: Version, threshold: float | None) -> Version:
    """Record the decision threshold that the version was evaluated with."""
    if threshold is None:
        return clear_tag(store, version, THRESHOLD_TAG)
    return set_tags(store, version, {THRESHOLD_TAG: repr(threshold)})
