"""List the files of a folder, follow its links, and find what cannot be read."""

import os
import shlex
import stat
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from visiongate.errors import DataError
from visiongate.ingestion.names import check_path, decode_name
from visiongate.ingestion.setting_advice import advise_on_links
from visiongate.text_tables import join_first

# Paths that a message shows.
MAX_SHOWN = 3
# By problem: what it is, and how to mend it. The settings can leave out only the last, because DVC reads everything.
REMEDIES = {
    "dangling": "links to nothing; remove them: find {root} -xtype l -delete",
    "loop": "links that lead in a circle; remove them",
    "special": "pipes, sockets or devices; remove them: find {root} '(' -type p -o -type s ')' -delete",
    "unreadable": "without permission to read; run: chmod -R u+rX {root}",
    "outside": "links that lead out of the folder; allow it with {links}, replace them by copies, or add them to "
    "dataset.exclude",
}


@dataclass(slots=True)
class FolderFiles:
    """The files of a folder.

    Attributes:
        files: The files by path.
        ignored: Number of files and folders that were left out, by reason.
        empty: Paths of the folders without files.
        linked_folders: Paths of the links to folders.
    """

    files: dict[str, Path] = field(default_factory=dict)
    ignored: Counter[str] = field(default_factory=Counter)
    empty: list[str] = field(default_factory=list)
    linked_folders: list[str] = field(default_factory=list)


class _Walk:
    """A walk through one folder, which collects the problems instead of stopping at the first."""

    def __init__(self, root: Path, links: Sequence[str], encoding: str | None) -> None:
        self.root, self._links, self._encoding = root, links, encoding
        self._allowed = [root.resolve(), *(Path(link).resolve() for link in links)]
        self.problems: dict[str, list[str]] = defaultdict(list)
        self.target = ""

    def entries(self, folder: Path, prefix: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
        """Yield the path and the entry of everything directly in a folder."""
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except PermissionError:
            self.problems["unreadable"].append(prefix or ".")
            return
        for entry in entries:
            name = decode_name(os.fsencode(entry.name), self._encoding)
            path = f"{prefix}/{name}" if prefix else name
            yield (check_path(self.root.name, path) if "/" in name else path), entry

    def follow(self, path: str, entry: os.DirEntry[str]) -> Path | None:
        """Return where a link leads; None if it may not or cannot be followed."""
        try:
            target = Path(entry.path).resolve(strict=True)
        except FileNotFoundError:
            self.problems["dangling"].append(path)
        except (OSError, RuntimeError):
            self.problems["loop"].append(path)
        else:
            if any(target.is_relative_to(allowed) for allowed in self._allowed):
                return target
            self.problems["outside"].append(path)
            self.target = self.target or str(target if target.is_dir() else target.parent)
        return None

    def classify(self, path: str, entry: os.DirEntry[str]) -> str | None:
        """Return ``folder`` or ``file``; None for what cannot be read."""
        mode = entry.stat().st_mode
        kind = "folder" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else None
        if kind is None:
            self.problems["special"].append(path)
        elif not os.access(entry.path, os.R_OK):
            self.problems["unreadable"].append(path)
            return None
        return kind

    def raise_problems(self) -> None:
        """Raise a `DataError` for the first kind of problem that was found."""
        for kind, remedy in REMEDIES.items():
            if paths := self.problems.get(kind):
                links = advise_on_links(self.target, self._links)
                text = remedy.format(root=shlex.quote(str(self.root)), links=links)
                raise DataError(f"{self.root.name}: {join_first(paths, MAX_SHOWN)}: {text}")


def walk_folder(
    root: Path, links: Sequence[str], encoding: str | None, ignore_reason: Callable[[str], str | None]
) -> FolderFiles:
    """List the files of a folder and of the folders that links in it lead to.

    Args:
        root: The folder.
        links: Folders outside of it that links may lead to.
        encoding: The encoding of the names that are not UTF-8.
        ignore_reason: Returns why a path is left out, or None.

    Raises:
        DataError: A link leads elsewhere, in a circle or to nothing, or a file is not readable or not a regular file.
    """
    walk, found = _Walk(root, links, encoding), FolderFiles()
    pending: list[tuple[Path, str, tuple[Path, ...]]] = [(root, "", (root.resolve(),))]
    while pending:
        folder, prefix, ancestors = pending.pop()
        is_empty = True
        for path, entry in walk.entries(folder, prefix):
            is_empty = False
            if reason := ignore_reason(path):
                found.ignored[reason] += 1
                continue
            target = walk.follow(path, entry) if entry.is_symlink() else None
            if entry.is_symlink() and target is None:
                continue
            kind = walk.classify(path, entry)
            if kind == "file":
                _add_file(root.name, found.files, path, Path(entry.path))
            elif kind == "folder" and target in ancestors:
                walk.problems["loop"].append(path)
            elif kind == "folder":
                found.linked_folders += [path] if target else []
                pending.append((Path(entry.path), path, (*ancestors, target) if target else ancestors))
        if is_empty:
            found.empty.append(prefix)
    walk.raise_problems()
    return found


def _add_file(root: str, files: dict[str, Path], path: str, file: Path) -> None:
    if path in files:
        raise DataError(f"{root}: {path}: two files have this path, one with backslashes; remove one of them")
    files[path] = file
