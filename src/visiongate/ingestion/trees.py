"""Folders and archives as trees: files in the order of their paths, read one at a time."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from visiongate.errors import DataError
from visiongate.ingestion.archives import open_archive
from visiongate.ingestion.limits import check_sizes
from visiongate.settings.dataset import Limits

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
def open_tree(path: Path, limits: Limits, exclude: Sequence[str] = ()) -> Iterator[Tree]:
    """Open a folder or an archive and list its files.

    Args:
        path: The folder or archive.
        limits: Limits on the size of the source.
        exclude: Patterns of paths to leave out; ``*`` also matches slashes.

    Raises:
        DataError: The source is damaged, exceeds a limit, or holds links or suspicious paths.
    """
    if path.is_dir():
        yield _list_folder(path, limits, exclude)
        return
    with open_archive(path, limits) as archive:
        tree = _build_tree(path.name, archive.paths, archive.read, exclude)
        for inner in tree.paths:
            if inner.lower().endswith(ARCHIVE_EXTENSIONS) and not inner.endswith(IDX_EXTENSION):
                raise DataError(
                    f"{path.name}: {inner}: an archive within an archive; extract it, or add it to dataset.exclude"
                )
        yield tree


def list_files(name: str, files: Mapping[str, Path], limits: Limits, exclude: Sequence[str] = ()) -> Tree:
    """Make a tree of files in any places.

    Args:
        name: The tree's name, for messages.
        files: The files by their path in the tree.
        limits: Limits on the size of the source.
        exclude: As in `open_tree`.

    Raises:
        DataError: A limit is exceeded.
    """
    tree = _build_tree(name, files, lambda path: files[path].read_bytes(), exclude)
    check_sizes(name, {path: files[path].stat().st_size for path in tree.paths}, limits)
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


def _list_folder(root: Path, limits: Limits, exclude: Sequence[str]) -> Tree:
    files: dict[str, Path] = {}
    empty: list[str] = []
    ignored: Counter[str] = Counter()
    for folder, subfolders, names in os.walk(root, onerror=_raise):
        if not subfolders and not names:
            empty.append(Path(folder).relative_to(root).as_posix())
        for name in [*subfolders, *names]:
            file = Path(folder, name)
            path = os.fsencode(file.relative_to(root).as_posix()).decode("utf-8", "backslashreplace")
            reason = _ignore_reason(path, exclude)
            if reason:
                ignored[reason] += 1
                # os.walk does not enter subfolders that are removed from its list.
                if name in subfolders:
                    subfolders.remove(name)
            elif file.is_symlink():
                raise DataError(
                    f"{root.name}: {path}: a link; replace it by a copy, or add it to dataset.exclude"
                )
            elif file.is_file():
                files[path] = file
            elif name not in subfolders:
                raise DataError(
                    f"{root.name}: {path}: not a regular file; remove it, or add it to dataset.exclude"
                )
    tree = list_files(root.name, files, limits)
    return Tree(tree.name, tree.paths, tree.read, ignored, tuple(sorted(empty)))


def _raise(error: OSError) -> None:
    raise error
