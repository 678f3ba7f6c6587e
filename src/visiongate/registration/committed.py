"""Start an empty registry from the committed model, so that no experiment becomes the first champion."""

import logging
import os
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from visiongate import paths
from visiongate.adapters.dvc import fetch_outputs, run_dvc
from visiongate.adapters.git import SHORT_COMMIT, Commit, GitError, Repository
from visiongate.adapters.mlflow.registry import Version, describe_version
from visiongate.adapters.mlflow.runs import log_reports
from visiongate.adapters.mlflow.store import Store
from visiongate.errors import DataError, VisiongateError
from visiongate.records.dvc_lock import parse_lock
from visiongate.records.model_card import strip_front_matter
from visiongate.records.registration import Registration, parse_registration
from visiongate.registration import promotion
from visiongate.registration.aliases import apply_decision
from visiongate.registration.evaluated_model import EvaluatedModel, read_evaluated_model
from visiongate.registration.versions import find_or_add_version, log_evaluation, record_evaluation

# What `register` reads, besides the files in git.
OUTPUTS = (
    paths.MODEL_ONNX,
    paths.MODEL_DESCRIPTION,
    paths.TRANSFORMED,
    paths.EVALUATION,
    paths.HISTORY.parent,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CommittedModel:
    """The model of a commit, which `register` promoted.

    Attributes:
        commit: The full hash.
        registration: The content of ``registration.json`` at the commit.
    """

    commit: str
    registration: Registration


def find_committed(repository: Repository, name: str) -> CommittedModel | None:
    """Return the model of the last commit, or of the commit that an experiment started from.

    Args:
        repository: The repository of the main workspace.
        name: Of the registered model.

    Returns:
        None if there is no commit, if it has no promoted model of this name, or if its files contradict each other.
    """
    try:
        commit = repository.commit(os.environ.get("DVC_EXP_BASELINE_REV", "HEAD"))
        registration = parse_registration((repository.read(commit, paths.REGISTRATION) or "").encode())
        lock = parse_lock(repository.read(commit, paths.LOCK) or "")
    except (DataError, GitError):
        return None
    is_model = lock.outs.get(paths.MODEL_ONNX.as_posix()) == registration.lineage.model_md5
    is_promoted = registration.decision == "promoted" and registration.gate_passed
    return (
        CommittedModel(commit, registration)
        if is_model and is_promoted and registration.name == name
        else None
    )


def register_committed(store: Store, committed: CommittedModel, project: Path) -> Version | None:
    """Register the model of a commit as the first champion; return None, and say why, if its files cannot be fetched.

    Args:
        store: A registry without a champion.
        committed: The model.
        project: The main workspace. Nothing is written to it.

    Raises:
        TrackingError: MLflow failed.
    """
    commit = committed.commit[:SHORT_COMMIT]
    with tempfile.TemporaryDirectory(prefix="visiongate-committed-") as temporary:
        clone = Path(temporary, "clone")
        try:
            model = _fetch(committed, project, clone)
        except VisiongateError as error:
            logger.warning("The model of commit %s cannot be registered first: %s", commit, error)
            return None
        run_id = log_evaluation(store, model, clone)
        version = find_or_add_version(store, committed.registration.name, model, run_id)
        version = record_evaluation(store, version, model)
        log_reports(store, run_id, [clone / paths.MODEL_CARD])
        card = (clone / paths.MODEL_CARD).read_text(encoding="utf-8")
        describe_version(store, version, strip_front_matter(card))
        version = apply_decision(store, version, None, promotion.promote_committed(commit))
    logger.info("Registered the model of commit %s as version %s, the first champion", commit, version.number)
    return version


def _fetch(committed: CommittedModel, project: Path, clone: Path) -> EvaluatedModel:
    Repository(project).clone(clone, committed.commit)
    fetch_outputs(project, clone, OUTPUTS, logger.debug, partial(run_dvc, isolated=True))
    model = read_evaluated_model(clone, Commit(committed.commit, dirty=False))
    if model.sha256 != committed.registration.model_sha256:
        raise DataError(
            f"{paths.MODEL_ONNX} has sha256 {model.sha256}, but {committed.registration.model_sha256} was registered"
        )
    return model
