"""Find the image that a cell of a table names: by its path or a part of it, with or without the extension.

A cell chooses among the images of the source and opens no file itself, so no path in a table leads out of the source.
"""

import posixpath
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

# The cells that show how many leading folders are not part of the source.
SAMPLE = 200
# The share of the cells that must name an image.
MIN_FOUND = 0.5


class ImageLookup:
    """The images of a tree by the ends of their paths, in any case.

    Args:
        images: The paths of the images.
        auxiliary: Those among them that lie in folders of masks and the like, and yield to an image of the same name.
    """

    def __init__(self, images: Iterable[str], auxiliary: Collection[str] = ()) -> None:
        self._images, self._auxiliary = list(images), frozenset(auxiliary)
        self._indexes: dict[tuple[int, bool], dict[str, list[str]]] = {}

    @property
    def example(self) -> str:
        """The path of an image, for messages."""
        return next(iter(self._images), "none")

    def find(self, cell: str, folder: str, skipped: int = 0) -> list[str]:
        """Return the images that a cell names: one, none, or several if the cell is ambiguous.

        Args:
            cell: A path or a name, with slashes or backslashes.
            folder: The folder of the table.
            skipped: The number of the cell's first folders that the source does not have.
        """
        parts = _split(cell, folder)[skipped:]
        for has_extension in (True, False):
            found = self._find_ends(parts, has_extension=has_extension)
            if len(found) > 1:
                found = _narrow(found, parts, folder, has_extension=has_extension)
            if len(found) > 1:
                found = [path for path in found if path not in self._auxiliary] or found
            if found:
                return found
        return []

    def fit(self, cells: Sequence[str], folder: str) -> tuple[int, float]:
        """Return how many first folders to skip so that most of some cells name an image, and the share that does.

        The fewest are skipped with which half of the cells name one.
        """
        sample = [cell for cell in cells if cell][:SAMPLE]
        depth = max((len(_split(cell, folder)) for cell in sample), default=0)
        for skipped in range(depth):
            share = sum(bool(self.find(cell, folder, skipped)) for cell in sample) / len(sample)
            if share >= MIN_FOUND:
                return skipped, share
        return 0, 0.0

    def _find_ends(self, parts: Sequence[str], *, has_extension: bool) -> list[str]:
        if not parts:
            return []
        depth = min(len(parts), 2)
        end = "/".join(parts).casefold()
        index = self._index(depth, has_extension=has_extension)
        found = index.get("/".join(parts[-depth:]).casefold(), [])
        if len(parts) == depth:
            return found
        return [path for path in found if f"/{_trim(path, has_extension)}".casefold().endswith(f"/{end}")]

    def _index(self, depth: int, *, has_extension: bool) -> dict[str, list[str]]:
        """Return the images by the last one or two parts of their paths."""
        key = (depth, has_extension)
        if key not in self._indexes:
            index = defaultdict[str, list[str]](list)
            for path in self._images:
                parts = _trim(path, has_extension).split("/")
                if len(parts) >= depth:
                    index["/".join(parts[-depth:]).casefold()].append(path)
            self._indexes[key] = dict(index)
        return self._indexes[key]


def _split(cell: str, folder: str) -> list[str]:
    parts = [part for part in cell.strip().replace("\\", "/").split("/") if part not in ("", ".")]
    if ".." in parts:
        # Relative to the table; what leads out of the source keeps its dots and names no image.
        parts = posixpath.normpath(posixpath.join(folder, *parts)).split("/")
    return parts


def _trim(path: str, has_extension: bool) -> str:  # noqa: FBT001 - called for each image
    return path if has_extension else posixpath.splitext(path)[0]


def _narrow(found: list[str], parts: Sequence[str], folder: str, *, has_extension: bool) -> list[str]:
    """Return the image at the very path, relative to the table or to the source, or of the same case; otherwise all."""
    end = "/".join(parts)
    exact = [posixpath.join(folder, end), end]
    trimmed = {path: _trim(path, has_extension) for path in found}
    for path in exact:
        if same := [each for each in found if trimmed[each] == path]:
            return same
    return [path for path in found if f"/{trimmed[path]}".endswith(f"/{end}")] or found
