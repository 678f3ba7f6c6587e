"""Describe the committed model, which a registry that has no champion, as in a fresh clone, starts from."""

import logging
from pathlib import Path

from visiongate.errors import DataError
from visiongate.records.drift_reference import read_reference
from visiongate.records.files import sha256_of
from visiongate.records.registration import read_registration
from visiongate.records.served_model import ServedModel
from visiongate.serving.sources.work_tree import WorkTree

logger = logging.getLogger(__name__)


def describe_committed(tree: WorkTree, name: str) -> ServedModel | None:
    """Return the model of the work tree as the registry that promoted it described it.

    Args:
        tree: The work tree.
        name: Of the registered model.

    Returns:
        None if ``registration.json`` does not say that it was promoted under this name.

    Raises:
        DataError: A file is missing or invalid, or the model is not the one that was promoted.
    """
    registration = read_registration(tree.registration)
    if registration.decision != "promoted" or registration.name != name:
        return None
    if not tree.model.exists():
        raise DataError(f"{tree.model}: no such file; run: dvc pull {tree.model.as_posix()}")
    sha256 = sha256_of(tree.model)
    if sha256 != registration.model_sha256:
        raise DataError(
            f"{tree.model}: has the sha256 {sha256}, but {tree.registration} promoted {registration.model_sha256}; run "
            "`visiongate registry register`"
        )
    described = tree.describe(sha256)
    return ServedModel(version=registration.version, sha256=sha256, aliases=registration.aliases, **described)


def find_committed_reference(tree: WorkTree, model_sha256: str) -> Path | None:
    """Return the reference of the committed model; None if the work tree has none, or, with a warning, if it is damaged."""
    if not tree.reference.exists():
        return None
    try:
        read_reference(tree.reference, model_sha256)
    except DataError as error:
        logger.warning("%s; the model is exported without it", error)
        return None
    return tree.reference
