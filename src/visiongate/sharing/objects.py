"""The objects that a lock names: their ids, the files they are, and what DVC says about those that it could not have.

An object is a file's content, named by its md5; a folder is an object too, a list of files and their md5s, named by the
list's md5 and ``.dir``.
"""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from visiongate.adapters.dvc import DvcError, run_dvc

ID = r"([0-9a-f]{32}(?:\.dir)?)"
MISSING = (
    re.compile(rf"^(?:name: .*, )?md5: {ID}$", re.MULTILINE),
    re.compile(rf"failed to transfer '{ID}' - .*(?:NoSuchKey|404|No such file|FileNotFound)"),
)
DAMAGED = (
    re.compile(rf"object {ID} is corrupted"),
    re.compile(rf"failed to transfer '{ID}' - Expected checksum"),
)
DAMAGED_PATH = re.compile(r"corrupted cache file '.*?([0-9a-f]{2})[/\\]([0-9a-f]{30}(?:\.dir)?)'")


@dataclass(frozen=True, slots=True)
class Lost:
    """The objects that a remote does not have, and those it has wrongly."""

    missing: frozenset[str]
    damaged: frozenset[str]


def find_lost(said: str) -> Lost:
    """Find the objects that DVC tells are missing or damaged in the output of a transfer with ``--verbose``."""
    damaged = {found for pattern in DAMAGED for found in pattern.findall(said)}
    damaged |= {first + rest for first, rest in DAMAGED_PATH.findall(said)}
    missing = {found for pattern in MISSING for found in pattern.findall(said)}
    return Lost(frozenset(missing - damaged), frozenset(damaged))


def object_path(store: str | Path, oid: str) -> str:
    """Return where an object lies in a cache or remote."""
    return f"{store}/files/md5/{oid[:2]}/{oid[2:]}"


def locked_objects(lock: Path) -> dict[str, str]:
    """Return the path of each output that ``dvc.lock`` names by the id of its object."""
    stages = (yaml.safe_load(lock.read_text(encoding="utf-8")) or {}).get("stages", {})
    outs = [out for stage in stages.values() for out in stage.get("outs", [])]
    return {out["md5"]: out["path"] for out in outs if "md5" in out}


def cached_files(lock: Path, cache: Path) -> dict[str, str]:
    """Return the files of a lock's outputs by the ids of their objects, as far as the cache knows them; no folders.

    The metrics and reports that git has are among them where the cache has them: a run is restored only with all of its
    outputs.
    """
    return {oid: path for oid, path in _walk(locked_objects(lock), cache) if not oid.endswith(".dir")}


def _walk(outs: dict[str, str], cache: Path) -> Iterator[tuple[str, str]]:
    for oid, path in outs.items():
        stored = Path(object_path(cache, oid))
        if not stored.exists():
            continue
        yield oid, path
        if oid.endswith(".dir"):
            members: list[dict[str, Any]] = json.loads(stored.read_bytes())
            yield from ((member["md5"], f"{path}/{member['relpath']}") for member in members)


def list_files(directory: Path) -> dict[str, str]:
    """Return the id of each file that DVC keeps in a workspace by the file's path; folders' lists may come from the remote."""
    listed = run_dvc(["ls", ".", "--dvc-only", "--recursive", "--show-hash"], directory)
    found = (re.fullmatch(r"\s*([0-9a-f]{32})\s+(.+?)\s*", line) for line in listed.splitlines())
    return {match[2]: match[1] for match in found if match}


def name_objects(oids: frozenset[str], directory: Path) -> list[str]:
    """Name the files that objects are, each once, in order; an object that no file is known for by its id."""
    names = locked_objects(directory / "dvc.lock") if (directory / "dvc.lock").exists() else {}
    if not oids <= names.keys():
        with suppress(DvcError):  # where a folder's list is what is lost, and that has its name in the lock
            names |= {oid: path for path, oid in list_files(directory).items()}
    return sorted(names.get(oid, f"object {oid}") for oid in oids)
