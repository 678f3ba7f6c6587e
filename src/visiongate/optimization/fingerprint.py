"""The fingerprint of a study: a hash of the settings, data and code that its result depends on."""

import hashlib
import json
from pathlib import Path
from typing import Any

from visiongate.settings.schema import Settings
from visiongate.training.fingerprint import code_sha256, data_sha256

# Settings of `optimize` that do not change the result.
WITHOUT_EFFECT = {"workers", "storage"}
# Settings of `optimize` that matter after the search only.
AFTER_SEARCH = {"confirm_seeds"}


def study_fingerprint(settings: Settings, directory: Path) -> str:
    """Return a hash of everything that a trial's value depends on; a journal with another hash is not resumed.

    Args:
        settings: All settings.
        directory: The folder of the pixel arrays.
    """
    tree = study_settings(settings)
    tree["optimize"] = {key: value for key, value in tree["optimize"].items() if key not in AFTER_SEARCH}
    parts = [tree, data_sha256(directory), code_sha256("optimization")]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def study_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings that a study's result depends on."""
    tree = settings.model_dump(include={"model", "training", "optimize"})
    tree["optimize"] = {key: value for key, value in tree["optimize"].items() if key not in WITHOUT_EFFECT}
    return tree
