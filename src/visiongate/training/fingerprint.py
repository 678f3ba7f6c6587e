"""What a training's course depends on besides its settings: the data and the code, as hashes. It loads nothing heavy."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from visiongate.records.files import sha256_of

SOURCE = Path(__file__).parents[1]
PACKAGES = ("models", "training")
MODULES = ("data/pixels.py", "stages/train.py")
DATA = ("transform.json", "train.npy", "train_labels.npy", "val.npy", "val_labels.npy")  # what training reads


def data_sha256(directory: Path) -> str:
    """Hash the pixel arrays of a folder that training sees."""
    return _join(sha256_of(directory / name) for name in DATA)


def code_sha256(*more: str) -> str:
    """Hash the code that trains.

    Args:
        more: Packages besides those.
    """
    files = [file for package in (*PACKAGES, *more) for file in sorted((SOURCE / package).rglob("*.py"))]
    return _join(sha256_of(file) for file in [*files, *(SOURCE / name for name in MODULES)])


def _join(hashes: Iterable[str]) -> str:
    return hashlib.sha256("".join(hashes).encode()).hexdigest()
