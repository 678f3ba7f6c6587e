"""Symbolic and hard links in archives, resolved within the archive."""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import TypeVar

from visiongate.errors import DataError

Entry = TypeVar("Entry")
# As many as Linux follows.
MAX_STEPS = 40


def join_target(link: str, target: str) -> str | None:
    """Return the path in the archive that a symbolic link leads to; None if it leads out of the archive."""
    parts = list(PurePosixPath(link).parent.parts)
    for part in target.replace("\\", "/").split("/"):
        if part == "..":
            if not parts:
                return None
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return None if target.startswith("/") else "/".join(parts)


def add_linked_entries(
    archive: str, entries: dict[str, Entry], links: Mapping[str, str | None], max_files: int
) -> None:
    """Add the files that links lead to, under the links' paths. A link to a folder adds the files below it.

    Args:
        archive: The archive's name, for messages.
        entries: The files by path, to which those behind links are added.
        links: The targets by path; None for those outside of the archive.
        max_files: The number of files after which the rest is left out.

    Raises:
        DataError: A link leads out of the archive, in a circle, or to nothing.
    """
    real = sorted(entries)
    broken = []
    for link in sorted(links):
        target = _resolve(link, links)
        if target is not None and target in entries:
            entries.setdefault(link, entries[target])
            continue
        below = [path for path in real if path.startswith(f"{target}/")] if target else []
        if not below:
            broken.append(link)
        if len(entries) > max_files:
            break
        for path in below:
            entries.setdefault(f"{link}{path[len(target or '') :]}", entries[path])
    if broken:
        raise DataError(
            f"{archive}: {', '.join(broken[:3])}: {len(broken):,} links to no file in the archive; replace them by copies, or "
            "add them to dataset.exclude"
        )


def _resolve(path: str, links: Mapping[str, str | None]) -> str | None:
    """Follow the links in a path; None if one leads out of the archive or in a circle."""
    for _ in range(MAX_STEPS):
        parts = path.split("/")
        prefixes = ("/".join(parts[:end]) for end in range(1, len(parts) + 1))
        link = next((prefix for prefix in prefixes if prefix in links), None)
        if link is None:
            return path
        target = links[link]
        if target is None:
            return None
        path = "/".join(part for part in (target, path[len(link) + 1 :]) if part)
    return None
