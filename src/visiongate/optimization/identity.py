"""What makes a study this and no other: settings, data and code."""

import hashlib
import json
from pathlib import Path
from typing import Any

from visiongate.settings.schema import Settings
from visiongate.training.fingerprint import code_sha256, data_sha256

SHARING = {"workers", "storage"}  # of `optimize`: by whom and where, which makes no other study
# Of `optimize`: what is done with the best trial, which has no part in finding it.
LATER = {"confirm_seeds"}


def fingerprint(settings: Settings, directory: Path) -> str:
    """Name the study by everything that a trial's value depends on, so that no journal of another is taken up.

    Args:
        settings: Of which not all matter.
        directory: Pixel arrays.
    """
    tree = study_settings(settings)
    tree["optimize"] = {key: value for key, value in tree["optimize"].items() if key not in LATER}
    parts = [tree, data_sha256(directory), code_sha256("optimization")]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def study_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings that a study's report depends on."""
    tree = settings.model_dump(include={"model", "training", "optimize"})
    tree["optimize"] = {key: value for key, value in tree["optimize"].items() if key not in SHARING}
    return tree
