"""What a training's course depends on besides its settings: the data and the code, as hashes. It loads nothing heavy."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from visiongate.files import sha256_of

SOURCE = Path(__file__).parents[1]
PACKAGES = ("models", "training")
DESCRIBES_DATA = (
    "manifest.parquet",
    "transform.json",
)  # which images, in which splits, and how they were made


def data_sha256(directory: Path) -> str:
    """Hash what describes the pixel arrays of a folder."""
    return _join(sha256_of(directory / name) for name in DESCRIBES_DATA)


def code_sha256(*more: str) -> str:
    """Hash the code that trains.

    Args:
        more: Packages besides those.
    """
    return _join(
        sha256_of(file) for package in (*PACKAGES, *more) for file in sorted((SOURCE / package).rglob("*.py"))
    )


def _join(hashes: Iterable[str]) -> str:
    return hashlib.sha256("".join(hashes).encode()).hexdigest()
