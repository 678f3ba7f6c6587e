"""Describe the committed model, which a registry that has no champion, as in a fresh clone, starts from."""

from visiongate.errors import DataError
from visiongate.records.files import sha256_of
from visiongate.records.registration import read_registration
from visiongate.records.served_model import ServedModel
from visiongate.serving.sources.work_tree import WorkTree


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
