"""What ``dvc.lock`` tells of itself: which stages wrote what others read, and which have not run since."""

from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from visiongate.errors import DataError

Status = Mapping[str, Sequence[Any]]  # as `dvc status --json` has it
Lock = Mapping[str, Mapping[str, Any]]  # the stages of ``dvc.lock``


def find_stale(status: Status, lock: Lock, kept: Sequence[Path]) -> dict[str, str]:
    """Find the stages whose outputs are not those of the code, parameters and data here, and what changed.

    What was never pulled, or only in part, does not count: whether a stage read what another wrote is asked of ``dvc.lock``.

    Args:
        status: As ``dvc status --json`` has it; may be empty.
        lock: The stages of ``dvc.lock``; their deps and outs are lists of entries with a path.
        kept: Outputs that git has, so that they are here and can be compared.

    Returns:
        What changed by stage, none before a stage that it depends on.

    Raises:
        DataError: The lock's stages wait for each other.
    """
    written = {out["path"]: out.get("md5") for stage in lock.values() for out in stage.get("outs") or []}
    upstream = _find_upstream(lock)
    stale: dict[str, str] = {}
    for name in [*_sort(upstream), *(name for name in status if name not in lock)]:
        deps = lock.get(name, {}).get("deps") or []
        changed = [
            *_list_changes(status.get(name, []), written, {path.as_posix() for path in kept}),
            *(dep["path"] for dep in deps if dep.get("md5") != written.get(dep["path"], dep.get("md5"))),
            *(f"what {maker} makes" for maker in upstream.get(name, ()) if maker in stale),
        ]
        if changed:
            stale[name] = ", ".join(dict.fromkeys(changed))
    return stale


def list_stale_outputs(lock: Lock) -> set[str]:
    """List the outputs of stages that read something else than is there now: what another stage has written since.

    Args:
        lock: The stages of ``dvc.lock``.
    """
    stale = find_stale({}, lock, ())
    return {out["path"] for name in stale for out in lock[name].get("outs") or []}


def _find_upstream(lock: Lock) -> dict[str, list[str]]:
    """Find the stages that each stage reads the outputs of."""
    makers = {out["path"]: name for name, stage in lock.items() for out in stage.get("outs") or []}
    return {
        name: list(
            dict.fromkeys(makers[dep["path"]] for dep in stage.get("deps") or [] if dep["path"] in makers)
        )
        for name, stage in lock.items()
    }


def _sort(upstream: Mapping[str, Sequence[str]]) -> list[str]:
    """Put each stage behind those that it depends on; ``dvc.lock`` has them in the order in which they first ran."""
    try:
        return list(TopologicalSorter(upstream).static_order())
    except CycleError:
        raise DataError("dvc.lock: its stages wait for each other: `dvc repro` writes it anew") from None


def _list_changes(entries: Sequence[Any], written: Mapping[str, Any], kept: set[str]) -> Iterator[str]:
    for entry in entries:
        if not isinstance(entry, Mapping):  # such as "changed command"
            yield str(entry)
            continue
        for path, what in entry.get("changed deps", {}).items():
            if path not in written:
                yield f"{path} ({', '.join(what)})" if isinstance(what, Mapping) else path
        yield from (path for path in entry.get("changed outs", {}) if path in kept)
