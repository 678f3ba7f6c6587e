"""What a run of somebody else's left, a fork's for one: read as data, within bounds, and nothing of it is run."""

from pathlib import Path

from visiongate.errors import DataError
from visiongate.review.snapshots import PARTS, Read

MOST_BYTES = 20_000_000  # of a file
TEXTS = {".json", ".csv", ".yaml", ".lock"}  # Parquet's readers were not written for hostile files
UNREAD = frozenset(
    name for name, part in PARTS.items() if any(path.suffix not in TEXTS for path in part.files)
)


def open_folder(folder: Path) -> Read:
    """Return how a file of the run is read, by its path in the repository.

    Raises:
        DataError: There is no such folder.
    """
    if not folder.is_dir():
        raise DataError(f"FROM={folder}: no such folder")

    def read(path: Path) -> bytes:
        place = folder / path
        try:
            return _read_plain(place, [place, *place.parents[: len(path.parts) - 1]])
        except OSError as error:
            raise DataError(f"{place}: {error.strerror}") from None

    return read


def _read_plain(place: Path, steps: list[Path]) -> bytes:
    """Read a file that no link leads to, and that is not too large."""
    if any(step.is_symlink() for step in steps):
        raise DataError(f"{place}: a link is not followed")
    if place.exists() and not place.is_file():
        raise DataError(f"{place}: no plain file")
    with place.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise DataError(f"{place}: larger than {MOST_BYTES:,} bytes")
    return content
