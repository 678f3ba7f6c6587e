"""``dvc.lock``: what each stage last ran with, and which stages are out of date with respect to each other."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from visiongate.errors import DataError
from visiongate.records.parsing import flatten, parse_yaml

# Of `dvc status --json`: for each stage a list of strings and mappings.
Status = Mapping[str, Sequence[Any]]


@dataclass(frozen=True, slots=True)
class LockedStage:
    """What a stage last ran with, and what it wrote.

    Attributes:
        command: As in ``dvc.yaml``.
        deps: The md5 of each dependency by path.
        outs: The md5 of each output by path.
        params: The values by file and dotted name.
    """

    command: str = ""
    deps: Mapping[str, str | None] = field(default_factory=dict)
    outs: Mapping[str, str | None] = field(default_factory=dict)
    params: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def digest(self) -> str:
        """Return a hash of the stage's inputs."""
        inputs = flatten({"cmd": self.command, "deps": self.deps, "params": self.params})
        return hashlib.sha256(repr(sorted(inputs.items())).encode(errors="replace")).hexdigest()


@dataclass(frozen=True, slots=True)
class DvcLock:
    """The stages of ``dvc.lock`` by name."""

    stages: Mapping[str, LockedStage]

    @property
    def outs(self) -> dict[str, str | None]:
        """The md5 of each output by path."""
        return {path: md5 for stage in self.stages.values() for path, md5 in stage.outs.items()}

    def digests(self) -> dict[str, str]:
        """Return a hash of each stage's inputs."""
        return {name: stage.digest() for name, stage in self.stages.items()}

    def find_stale(self, status: Status, in_git: Sequence[Path] = ()) -> dict[str, str]:
        """Find the stages whose outputs do not belong to the code, parameters and data of the work tree.

        Outputs that were never pulled do not count, because the lock alone says whether a stage read what another one wrote.

        Args:
            status: Of ``dvc status --json``; may be empty.
            in_git: Outputs that git tracks, which are in the work tree and can be compared.

        Returns:
            What changed, by stage, in the order of the pipeline.

        Raises:
            DataError: The stages depend on each other in a circle.
        """
        written, kept = self.outs, {path.as_posix() for path in in_git}
        upstream = self._upstream()
        stale: dict[str, str] = {}
        for name in [*_sort(upstream), *(name for name in status if name not in self.stages)]:
            deps = self.stages[name].deps if name in self.stages else {}
            changed = [
                *_list_changes(status.get(name, []), written, kept),
                *(path for path, md5 in deps.items() if md5 != written.get(path, md5)),
                *(f"outputs of {maker}" for maker in upstream.get(name, ()) if maker in stale),
            ]
            if changed:
                stale[name] = ", ".join(dict.fromkeys(changed))
        return stale

    def stale_outputs(self) -> set[str]:
        """Return the outputs of stages that read something else than what another stage has written since."""
        return {path for name in self.find_stale({}) for path in self.stages[name].outs}

    def _upstream(self) -> dict[str, list[str]]:
        """Return the stages that each stage reads the outputs of."""
        makers = {path: name for name, stage in self.stages.items() for path in stage.outs}
        return {
            name: list(dict.fromkeys(makers[path] for path in stage.deps if path in makers))
            for name, stage in self.stages.items()
        }


def parse_lock(content: bytes | str) -> DvcLock:
    """Parse the content of ``dvc.lock``, which anyone may have written.

    Raises:
        DataError: The content is not that of a lock file.
    """
    tree = parse_yaml(content)
    # This bounds the size and the depth.
    flatten(tree if tree is not None else {})
    stages = tree.get("stages", {}) if isinstance(tree, dict) else {}
    if not isinstance(stages, dict) or not all(isinstance(entry, dict) for entry in stages.values()):
        raise DataError("`stages` is not a mapping of stages")
    return DvcLock({str(name): _parse_stage(entry) for name, entry in stages.items()})


def read_lock(path: Path) -> DvcLock:
    """Read ``dvc.lock``; without the file there are no stages.

    Raises:
        DataError: The file is invalid.
    """
    if not path.exists():
        return DvcLock({})
    try:
        return parse_lock(path.read_bytes())
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _parse_stage(entry: Mapping[str, Any]) -> LockedStage:
    params = entry.get("params") or {}
    if not isinstance(params, dict) or not all(isinstance(values, dict) for values in params.values()):
        raise DataError("`params` of a stage is not a mapping by file")
    deps, outs = _parse_files(entry, "deps"), _parse_files(entry, "outs")
    return LockedStage(str(entry.get("cmd", "")), deps, outs, params)


def _parse_files(entry: Mapping[str, Any], kind: str) -> dict[str, str | None]:
    files = entry.get(kind) or []
    if not isinstance(files, list) or not all(
        isinstance(file, dict) and isinstance(file.get("path"), str) for file in files
    ):
        raise DataError(f"`{kind}` of a stage is not a list of paths")
    return {file["path"]: None if file.get("md5") is None else str(file["md5"]) for file in files}


def _sort(upstream: Mapping[str, Sequence[str]]) -> list[str]:
    """Order the stages of the pipeline; the lock has them in the order in which they first ran."""
    try:
        return list(TopologicalSorter(upstream).static_order())
    except CycleError:
        raise DataError("dvc.lock: the stages depend on each other in a circle; run `dvc repro`") from None


def _list_changes(entries: Sequence[Any], written: Mapping[str, Any], in_git: set[str]) -> Iterator[str]:
    for entry in entries:
        # Such as "changed command".
        if not isinstance(entry, Mapping):
            yield str(entry)
            continue
        for path, what in entry.get("changed deps", {}).items():
            if path not in written:
                yield f"{path} ({', '.join(what)})" if isinstance(what, Mapping) else path
        yield from (path for path in entry.get("changed outs", {}) if path in in_git)
