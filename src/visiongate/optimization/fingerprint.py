"""The settings that a search depends on, and the fingerprint of a study. Imports nothing heavy."""

import hashlib
import json
from pathlib import Path
from typing import Any

from visiongate.errors import DataError
from visiongate.records.files import sha256_of
from visiongate.records.search import Values
from visiongate.settings.schema import Settings
from visiongate.training.fingerprint import code_sha256, data_sha256

# Settings that change no trial: a trial has epochs and a seed of its own.
WITHOUT_EFFECT = (
    # Of the comparison after the search.
    "optimize.confirm_seeds",
    "optimize.storage",
    "training.epochs",
    "training.export",
    "training.launch",
    "training.reliability",
    "training.seed",
    "training.tensorboard",
)


def study_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings that the search depends on: those of model, training and search, without the searched ones."""
    tree = settings.model_dump(include={"model", "training", "optimize"})
    for name in (*WITHOUT_EFFECT, *current_values(settings)):
        *sections, key = name.split(".")
        node = tree
        for section in sections:
            node = node.get(section, {})
        node.pop(key, None)
    return tree


def current_values(settings: Settings) -> Values:
    """Return the current values of the searched settings by dotted name."""
    searched = (dimension.setting for dimension in settings.optimize.space.values())
    return {setting: settings.value(setting) for setting in searched}


def check_study(settings: Settings, study: dict[str, Any]) -> None:
    """Check that the settings are those that DVC compared before it started a stage of the search.

    Raises:
        DataError: They are not.
    """
    if study != study_settings(settings):
        raise DataError("reports/study.json: params.yaml has changed since; run `dvc repro recommend`")


def study_fingerprint(study: dict[str, Any], directory: Path) -> str:
    """Return a hash of everything that a trial's value depends on; a journal with another hash is not resumed.

    Args:
        study: As `study_settings` returns it.
        directory: The folder of the pixel arrays.
    """
    from visiongate.records.manifest import MANIFEST_FILE  # noqa: PLC0415 - slow to import

    manifest = sha256_of(directory / MANIFEST_FILE)
    return digest(study, data_sha256(directory), manifest, code_sha256("optimization"))


def digest(*values: object) -> str:
    """Return a hash of JSON values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
