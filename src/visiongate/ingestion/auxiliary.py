"""Folders of what belongs to the images but is not one of a class, such as masks and thumbnails."""

import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from visiongate.ingestion.split_names import FILLERS
from visiongate.settings.dataset import Dataset

# Images by the thousand have the same few folders.
NAMES_CACHED = 10_000
# Folders of images without a label: never a class, unless dataset.classes lists them.
UNLABELED = frozenset(("unsorted", "unlabeled", "unlabelled", "trash"))
# The last word of a name such as ``cat_1_mask``.
LAST_WORD = re.compile(r"[\W_]+[a-z]+$", re.IGNORECASE)
# The parts of an image's path: folders, then the file's name.
Parts = tuple[str, ...]


def find_auxiliary(parts: Mapping[str, Parts], dataset: Dataset) -> dict[str, list[str]]:
    """Return the paths of the images in auxiliary folders, by the folder's name."""
    names = frozenset(plain_name(name) for name in dataset.auxiliary)
    known = {*(dataset.classes or ()), *(dataset.splits or ())}
    found: dict[str, list[str]] = defaultdict(list)
    for path, each in parts.items():
        folder = next((name for name in each[:-1] if _is_named(name, names) and name not in known), None)
        if folder is not None:
            found[folder].append(path)
    return found


def may_be_class(folder: str, images: Sequence[Parts], classes: Iterable[Parts], level: int) -> bool:
    """Return whether a folder with an auxiliary name beside classes is one of them.

    It is none if its name says that its images have no label, or if at least half of its files are named like those of one
    class, as masks are named like their images. Names that several classes share, such as numbers, say nothing.

    Args:
        folder: The folder's name.
        images: The images in it.
        classes: The images of the classes.
        level: The number of folders above the classes.
    """
    if _is_named(folder, UNLABELED):
        return False
    holders = Counter(
        holder for holder, _ in {((each[:level], _stem(each)), each[level]) for each in classes}
    )
    stems = [(each[:level], _stem(each)) for each in images]
    companions = sum(
        1 in (holders[above, stem], holders[above, LAST_WORD.sub("", stem)]) for above, stem in stems
    )
    return companions * 2 < len(stems)


@lru_cache(NAMES_CACHED)
def plain_name(name: str) -> str:
    """Return a name without case and separators."""
    return re.sub(r"[\W_]", "", name).lower()


def _stem(parts: Parts) -> str:
    return posixpath.splitext(parts[-1])[0]


@lru_cache(NAMES_CACHED)
def _is_named(folder: str, names: frozenset[str]) -> bool:
    """Return whether a folder has one of the names, alone or with words such as ``seg`` or ``images``."""
    words = [word for word in re.findall(r"[^\W_]+", folder.lower()) if word not in FILLERS]
    return plain_name(folder) in names or "".join(words) in names
