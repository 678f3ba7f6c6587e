"""The held-out images of a version, which the prediction log keeps so that `visiongate drift` can compare with them."""

import hashlib
import logging
from pathlib import Path

from visiongate.errors import DataError
from visiongate.records.drift_reference import read_content, read_reference
from visiongate.serving.sources.model_sources import ServedFile

logger = logging.getLogger(__name__)


def load_reference(file: ServedFile) -> bytes | None:
    """Return the checked content of a version's ``reference.npz``; None, after a warning, if it cannot be used.

    An older version, and a file without a registry, has none. Called in a thread.
    """
    path = file.reference
    if path is None or (file.reference_sha256 is None and not path.exists()):
        return None
    try:
        return _read(path, file)
    except DataError as error:
        logger.warning("%s; `visiongate drift` has no reference for %s", error, file.source)
        return None


def _read(path: Path, file: ServedFile) -> bytes:
    content = read_content(path)
    actual = hashlib.sha256(content).hexdigest()
    if file.reference_sha256 not in (None, actual):
        raise DataError(
            f"{path}: it has the sha256 {actual}, not the registered {file.reference_sha256}; export the version again with "
            "`visiongate registry export`"
        )
    read_reference(content, file.sha256)
    return content
