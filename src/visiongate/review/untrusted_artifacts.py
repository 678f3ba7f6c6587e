"""The files of another run, such as a fork's: read as data, within bounds."""

from pathlib import Path

from visiongate.errors import DataError
from visiongate.review.snapshots import IN_GIT, PARTS, Read

MAX_BYTES = 20_000_000


def _is_data(path: Path) -> bool:
    return path.is_relative_to("data") and path not in IN_GIT


# Readers of Parquet were not written for hostile files.
TRUSTED_SUFFIXES = {".json", ".csv", ".yaml", ".lock"}
# A run keeps its reports and what git tracks, not its data.
UNTRUSTED_PARTS = frozenset(
    name
    for name, part in PARTS.items()
    if any(path.suffix not in TRUSTED_SUFFIXES or _is_data(path) for path in part.files)
)


def open_folder(folder: Path) -> Read:
    """Return a function that reads a file of a run by its path in the repository.

    Raises:
        DataError: The folder does not exist.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: is not a folder")

    def read(path: Path) -> bytes:
        place = folder / path
        try:
            return _read_file(place, [place, *place.parents[: len(path.parts) - 1]])
        except OSError as error:
            raise DataError(f"{place}: {error.strerror}") from None

    return read


def _read_file(place: Path, steps: list[Path]) -> bytes:
    """Return the content of a regular file that no symbolic link leads to."""
    if any(step.is_symlink() for step in steps) or (place.exists() and not place.is_file()):
        raise DataError(f"{place}: is not a regular file")
    with place.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise DataError(f"{place}: is larger than {MAX_BYTES:,} bytes")
    return content
