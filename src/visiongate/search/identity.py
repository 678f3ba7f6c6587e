"""What makes a study this and no other: settings, data and code."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from visiongate.config import Settings
from visiongate.files import sha256_of

SOURCE = Path(__file__).parent.parent
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
    parts = [tree, hash_data(directory), list(_hash_code())]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def study_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings that a study's report depends on."""
    tree = settings.model_dump(include={"model", "training", "optimize"})
    tree["optimize"] = {key: value for key, value in tree["optimize"].items() if key not in SHARING}
    return tree


def hash_data(directory: Path) -> list[str]:
    """Hash what tells pixel arrays apart."""
    return [sha256_of(directory / name) for name in ("manifest.parquet", "transform.json")]


def _hash_code() -> Iterator[str]:
    for package in ("models", "training", "search"):
        for file in sorted((SOURCE / package).rglob("*.py")):
            yield sha256_of(file)
