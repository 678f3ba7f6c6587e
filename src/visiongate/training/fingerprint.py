"""Hashes of the data and the code that determine a training. Imports nothing heavy."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from visiongate.records.files import sha256_of

SOURCE = Path(__file__).parents[1]
PACKAGES = ("models", "training")
MODULES = (
    "images/folds.py",
    "images/pixels.py",
    # Compares epochs, and scores trials.
    "records/history.py",
    "records/splits.py",
    "records/transform.py",
)
DATA = ("transform.json", "train.npy", "train_labels.npy", "val.npy", "val_labels.npy")


def data_sha256(directory: Path) -> str:
    """Hash the pixel arrays that training reads."""
    return _join(sha256_of(directory / name) for name in DATA)


def code_sha256(*extra_packages: str) -> str:
    """Hash the source code that training runs, and that of extra packages."""
    files = [
        file for package in (*PACKAGES, *extra_packages) for file in sorted((SOURCE / package).rglob("*.py"))
    ]
    return _join(sha256_of(file) for file in [*files, *(SOURCE / name for name in MODULES)])


def _join(hashes: Iterable[str]) -> str:
    return hashlib.sha256("".join(hashes).encode()).hexdigest()
