"""Files within outputs as DVC's cache holds them: those of an experiment are there, its work tree is not."""

import json
from collections.abc import Mapping
from pathlib import Path

from visiongate.adapters.dvc import run_dvc


class Cache:
    """DVC's cache."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @classmethod
    def of(cls, directory: Path) -> "Cache":
        """Find the cache of a repository."""
        return cls(directory / run_dvc(["cache", "dir"], directory).strip())

    def find(self, outs: Mapping[str, str], path: Path) -> Path | None:
        """Return where a file lies; None where the cache or the outputs do not have it.

        Args:
            outs: The md5 of each output by its path, that of a folder ending with ``.dir``.
            path: A file within one of them.
        """
        for folder in path.parents:
            listing = self._object(outs.get(folder.as_posix(), ""))
            if listing is not None:
                inside = path.relative_to(folder).as_posix()
                entries = {entry["relpath"]: entry["md5"] for entry in json.loads(listing.read_bytes())}
                return self._object(entries.get(inside, ""))
        return None

    def _object(self, md5: str) -> Path | None:
        path = self._root / "files" / "md5" / md5[:2] / md5[2:]
        return path if md5 and path.is_file() else None
