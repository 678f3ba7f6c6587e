"""Folders and archives as trees: files in the order of their paths, read one at a time."""

import io
import logging
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO

from visiongate.errors import DataError
from visiongate.ingestion.archives import open_archive
from visiongate.ingestion.folder_walk import walk_folder
from visiongate.ingestion.image_files import select_images
from visiongate.ingestion.limits import check_sizes
from visiongate.settings.dataset import Dataset
from visiongate.text_tables import join_first

logger = logging.getLogger(__name__)
# Paths that a message shows.
MAX_SHOWN = 3
# The reason for which files are ignored that the settings leave out.
EXCLUDED = "excluded"
# Files and folders that operating systems, network drives and photo programs add, besides hidden ones. In lower case.
SYSTEM_NAMES = {
    *("__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "zbthumbnail.info", "picasa.ini"),
    *("$recycle.bin", "recycler", "system volume information", "lost+found", "found.000"),
    *("@eadir", "#recycle", "@recycle", "#snapshot", "@tmp", "__pycache__"),
}
ARCHIVE_EXTENSIONS = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar")
# MNIST's files are compressed one by one.
IDX_EXTENSION = "-ubyte.gz"
# The archives in a folder that are read.
MOUNTED = re.compile(r"\.(zip|tar|tgz|tbz2?|txz|tar\.(gz|bz2|xz))$", re.IGNORECASE)
# Files of many images, each of which is checked when it is read.
CONTAINER = re.compile(rf"\.(parquet|npz)$|{MOUNTED.pattern}", re.IGNORECASE)
PARQUET_SIGNATURE = b"PAR1"


@dataclass(frozen=True, slots=True)
class Tree:
    r"""Files by path.

    Attributes:
        name: Name of the folder or archive, for messages.
        paths: Relative paths with forward slashes, sorted and unique. Bytes that are not UTF-8 are written ``\xNN``.
        read: Returns the content of a file by path.
        ignored: Number of files that were left out, by reason.
        empty_folders: Folders without files, where the source has any.
        files: Where the files of a folder lie, by path; empty for an archive.
        tars: The folders that stand for tar archives; an empty text if the tree itself is one.
    """

    name: str
    paths: list[str]
    read: Callable[[str], bytes]
    ignored: Counter[str]
    empty_folders: tuple[str, ...] = ()
    files: Mapping[str, Path] = field(default_factory=dict)
    tars: tuple[str, ...] = ()

    def open(self, path: str) -> IO[bytes]:
        """Open a file that is too large for the memory, unless it lies in an archive."""
        return self.files[path].open("rb") if path in self.files else io.BytesIO(self.read(path))


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
        with mount_archives(_list_folder(path, dataset), dataset) as tree:
            yield tree
    elif is_container(path):
        yield list_files(path.name, {path.name: path}, dataset)
    else:
        with open_archive(path, dataset, lambda inner: _is_left_out(inner, dataset)) as archive:
            paths = _check_nesting(path.name, archive.sizes, dataset)
            tree = _build_tree(path.name, paths, archive.read, dataset.exclude)
            yield tree if _is_zip(path.name) else replace(tree, tars=("",))


def is_container(path: Path) -> bool:
    """Return whether a file is a Parquet file or an .npz, which is a zip by its content."""
    with path.open("rb") as file:
        return file.read(len(PARQUET_SIGNATURE)) == PARQUET_SIGNATURE or path.suffix.lower() == ".npz"


@contextmanager
def mount_archives(tree: Tree, dataset: Dataset) -> Iterator[Tree]:
    """Show the archives in a folder as folders of the same names, unless the folder holds images itself.

    Raises:
        DataError: An archive is damaged or holds suspicious paths, or all together exceed a limit.
    """
    archives = [path for path in tree.paths if path in tree.files and MOUNTED.search(path)]
    if not archives or select_images(tree.paths, tree.read)[0]:
        yield tree
        return
    sizes = {path: tree.files[path].stat().st_size for path in tree.paths if path not in archives}
    folders = _name_folders(archives, sizes)
    readers: dict[str, tuple[Callable[[str], bytes], int]] = {}
    with ExitStack() as stack:
        for path, folder in folders.items():

            def is_left_out(inner: str, folder: str = folder) -> bool:
                return _is_left_out(f"{folder}/{inner}", dataset)

            archive = stack.enter_context(open_archive(tree.files[path], dataset, is_left_out))
            inner = {f"{folder}/{each}": size for each, size in archive.sizes.items()}
            readers |= dict.fromkeys(_check_nesting(path, inner, dataset), (archive.read, len(folder) + 1))
            sizes |= inner
        check_sizes(tree.name, sizes, dataset.limits)

        def read(path: str) -> bytes:
            if path not in readers:
                return tree.read(path)
            read_entry, start = readers[path]
            return read_entry(path[start:])

        mounted = _build_tree(tree.name, sizes, read, dataset.exclude)
        tars = tuple(folder for path, folder in folders.items() if not _is_zip(path))
        yield replace(mounted, ignored=tree.ignored + mounted.ignored, files=tree.files, tars=tars)


def _is_zip(path: str) -> bool:
    return path.lower().endswith(".zip")


def _name_folders(archives: Sequence[str], others: Iterable[str]) -> dict[str, str]:
    """Return the folder that stands for each archive: its name without the extension, unless something else has it."""
    names = {path: MOUNTED.sub("", path) for path in archives}
    taken = Counter(names.values())
    taken.update({"/".join(parts[:end]) for parts in map(_split, others) for end in range(1, len(parts) + 1)})
    return {path: name if taken[name] == 1 else path for path, name in names.items()}


def _split(path: str) -> list[str]:
    return path.split("/")


def _check_nesting(source: str, paths: Collection[str], dataset: Dataset) -> Collection[str]:
    """Return the paths of an archive.

    Raises:
        DataError: It holds an archive.
    """
    inner = [
        path
        for path in paths
        if path.lower().endswith(ARCHIVE_EXTENSIONS)
        and not path.endswith(IDX_EXTENSION)
        and not _is_left_out(path, dataset)
    ]
    if inner:
        raise DataError(
            f"{source}: {join_first(sorted(inner), MAX_SHOWN)}: an archive within an archive ({len(inner):,} in all); extract "
            "it, or add it to dataset.exclude"
        )
    return paths


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
    _check_files(name, {path: files[path] for path in tree.paths}, dataset)
    return replace(tree, files=files)


def _check_files(name: str, files: Mapping[str, Path], dataset: Dataset) -> None:
    sizes = {path: file.stat().st_size for path, file in files.items() if not CONTAINER.search(path)}
    check_sizes(name, sizes, dataset.limits)


def _build_tree(
    name: str,
    paths: Iterable[str],
    read: Callable[[str], bytes],
    exclude: Sequence[str],
) -> Tree:
    reasons = {path: _ignore_reason(path, exclude) for path in paths}
    ignored = Counter(reason for reason in reasons.values() if reason)
    return Tree(name, sorted(path for path, reason in reasons.items() if not reason), read, ignored)


def _is_left_out(path: str, dataset: Dataset) -> bool:
    return _ignore_reason(path, dataset.exclude) is not None


def is_hidden(path: str) -> bool:
    """Return whether a file or a folder above it is hidden, or one that a system adds."""
    return any(part.startswith(".") or part.lower() in SYSTEM_NAMES for part in path.split("/"))


def _ignore_reason(path: str, exclude: Sequence[str]) -> str | None:
    if is_hidden(path):
        return "hidden"
    return EXCLUDED if is_excluded(path, exclude) else None


def is_excluded(path: str, patterns: Sequence[str]) -> bool:
    """Return whether a path matches a pattern of ``dataset.exclude``."""
    return any(fnmatchcase(path, pattern) for pattern in patterns)


def _list_folder(root: Path, dataset: Dataset) -> Tree:
    def ignore_reason(path: str) -> str | None:
        return _ignore_reason(path, dataset.exclude)

    found = walk_folder(root, dataset.links, dataset.encoding, ignore_reason)
    _check_files(root.name, found.files, dataset)
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
        found.files,
    )
