"""Files of outputs in DVC's cache, which has those of experiments that are not checked out."""

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
        """Return the cache of a repository."""
        return cls(directory / run_dvc(["cache", "dir"], directory).strip())

    def read(self, outs: Mapping[str, str], path: Path) -> bytes | None:
        """Return a file's content, None if the cache or the outputs do not have the file.

        Args:
            outs: The md5 of each output by path; that of a folder ends with ``.dir``.
            path: A file in one of the folders.
        """
        for folder in path.parents:
            listing = self._read_object(outs.get(folder.as_posix(), ""))
            if listing is not None:
                inside = path.relative_to(folder).as_posix()
                entries = {entry["relpath"]: entry["md5"] for entry in json.loads(listing)}
                return self._read_object(entries.get(inside, ""))
        return None

    def _read_object(self, md5: str) -> bytes | None:
        path = self._root / "files" / "md5" / md5[:2] / md5[2:]
        return path.read_bytes() if md5 and path.is_file() else None
