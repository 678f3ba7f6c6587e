"""Where the picture of an image lies: in one folder, under the name that the source of the image has for it."""

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path, PurePosixPath

from visiongate.prediction.input_files import show_path
from visiongate.prediction.sources import STANDARD_INPUT


@dataclass(frozen=True, slots=True)
class PicturePaths:
    """The paths of pictures.

    Attributes:
        folder: For the pictures.
        elsewhere: The absolute sources whose parents are left out of the paths.
    """

    folder: Path
    elsewhere: frozenset[PurePosixPath]

    def __getitem__(self, path: str) -> Path:
        """Return the path of an image's picture.

        Relative paths and addresses keep their folders. An absolute path starts with the name of its source, if the source is
        known.
        """
        place = _absolute(path) or PurePosixPath(path)
        source = next((source for source in (place, *place.parents) if source in self.elsewhere), None)
        if source is not None:
            place = place.relative_to(source.parent)
        parts = [part for part in place.parts if part not in ("/", "//")]
        return self.folder.joinpath(*parts[:-1], f"{parts[-1]}.png")


def place_pictures(folder: Path, sources: Sequence[str]) -> PicturePaths:
    """Return the paths of the pictures of some sources.

    If two sources have the same name, or the standard input is one, all absolute paths stay whole, so that no picture
    replaces that of another image.

    Args:
        folder: For the pictures.
        sources: Files, folders, archives, addresses and patterns, as `Sources` takes them.
    """
    places = {_absolute(name) or PurePosixPath(name) for name in map(_without_pattern, sources)}
    elsewhere = frozenset(place for place in places if place.is_absolute())
    names = [place.name for place in elsewhere]
    names += {place.parts[0] for place in places - elsewhere if place.parts}
    is_unique = len(set(names)) == len(names) and STANDARD_INPUT not in sources
    return PicturePaths(folder, elsewhere if is_unique else frozenset())


def _absolute(name: str) -> PurePosixPath | None:
    """Return the absolute path if a name is one or leads out of a folder; otherwise None."""
    if name.startswith("/") or ".." in PurePosixPath(name).parts:
        return PurePosixPath(os.path.abspath(name))  # noqa: PTH100 - without following links
    return None


def _without_pattern(name: str) -> str:
    """Return a path as it is in the results, or the folder above its first pattern."""
    parts = PurePosixPath(show_path(name)).parts
    if glob.has_magic(name) and not Path(name).exists():
        parts = tuple(takewhile(lambda part: not glob.has_magic(part), parts))
    return str(PurePosixPath(*parts))
