"""Folders and archives as trees: files in the order of their paths, read one at a time."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from visiongate.errors import DataError
from visiongate.ingestion.archives import open_archive
from visiongate.ingestion.folder_walk import walk_folder
from visiongate.ingestion.limits import check_sizes
from visiongate.settings.dataset import Dataset

logger = logging.getLogger(__name__)
# Paths that a message shows.
MAX_SHOWN = 3
# Files and folders that operating systems, network drives and photo programs add, besides hidden ones. In lower case.
SYSTEM_NAMES = {
    *("__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "zbthumbnail.info", "picasa.ini"),
    *("$recycle.bin", "recycler", "system volume information", "lost+found", "found.000"),
    *("@eadir", "#recycle", "@recycle", "#snapshot", "@tmp", "__pycache__"),
}
ARCHIVE_EXTENSIONS = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar")
# MNIST's files are compressed one by one.
IDX_EXTENSION = "-ubyte.gz"


@dataclass(frozen=True, slots=True)
class Tree:
    r"""Files by path.

    Attributes:
        name: Name of the folder or archive, for messages.
        paths: Relative paths with forward slashes, sorted and unique. Bytes that are not UTF-8 are written ``\xNN``.
        read: Returns the content of a file by path.
        ignored: Number of files that were left out, by reason.
        empty_folders: Folders without files, where the source has any.
    """

    name: str
    paths: list[str]
    read: Callable[[str], bytes]
    ignored: Counter[str]
    empty_folders: tuple[str, ...] = ()


@contextmanager
def open_tree(path: Path, dataset: Dataset) -> Iterator[Tree]:
    """Open a folder or an archive and list its files.

    Args:
        path: The folder or archive.
        dataset: The limits, the patterns to exclude, where links may lead, and the encoding of names.

    Raises:
        DataError: The source is damaged, exceeds a limit, or holds suspicious paths or links that lead out of it.
    """
    if path.is_dir():
        yield _list_folder(path, dataset)
        return
    with open_archive(
        path, dataset, lambda inner: _ignore_reason(inner, dataset.exclude) is not None
    ) as archive:
        tree = _build_tree(path.name, archive.paths, archive.read, dataset.exclude)
        inner = [
            each
            for each in tree.paths
            if each.lower().endswith(ARCHIVE_EXTENSIONS) and not each.endswith(IDX_EXTENSION)
        ]
        if inner:
            raise DataError(
                f"{path.name}: {', '.join(inner[:MAX_SHOWN])}: an archive within an archive ({len(inner):,} in all); "
                "extract it, or add it to dataset.exclude"
            )
        yield tree


def list_files(name: str, files: Mapping[str, Path], dataset: Dataset) -> Tree:
    """Make a tree of files in any places.

    Args:
        name: The tree's name, for messages.
        files: The files by their path in the tree.
        dataset: The limits and the patterns to exclude.

    Raises:
        DataError: A limit is exceeded.
    """
    tree = _build_tree(name, files, lambda path: files[path].read_bytes(), dataset.exclude)
    check_sizes(name, {path: files[path].stat().st_size for path in tree.paths}, dataset.limits)
    return tree


def _build_tree(
    name: str,
    paths: "Sequence[str] | Mapping[str, object]",
    read: Callable[[str], bytes],
    exclude: Sequence[str],
) -> Tree:
    reasons = {path: _ignore_reason(path, exclude) for path in paths}
    ignored = Counter(reason for reason in reasons.values() if reason)
    return Tree(name, sorted(path for path, reason in reasons.items() if not reason), read, ignored)


def _ignore_reason(path: str, exclude: Sequence[str]) -> str | None:
    if any(part.startswith(".") or part.lower() in SYSTEM_NAMES for part in path.split("/")):
        return "hidden"
    return "excluded" if any(fnmatchcase(path, pattern) for pattern in exclude) else None


def _list_folder(root: Path, dataset: Dataset) -> Tree:
    def ignore_reason(path: str) -> str | None:
        return _ignore_reason(path, dataset.exclude)

    found = walk_folder(root, dataset.links, dataset.encoding, ignore_reason)
    check_sizes(root.name, {path: file.stat().st_size for path, file in found.files.items()}, dataset.limits)
    if found.linked_folders:
        logger.warning(
            "%s: %d links to folders, such as %s: DVC does not notice changes behind them; after a change, run "
            "`dvc repro --force ingestion`",
            root.name,
            len(found.linked_folders),
            found.linked_folders[0],
        )
    return Tree(
        root.name,
        sorted(found.files),
        lambda path: found.files[path].read_bytes(),
        found.ignored,
        tuple(sorted(found.empty)),
    )
