"""How many cores this process may use: its affinity, the CPU quota of its container, and what is left to it."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

PROCESS = Path("/proc/self")
# Of this process, if its machine is shared with other workers.
_limits: list[int] = []


def limit_cores(count: float) -> None:
    """Let this process use fewer cores than it might; part of a core counts as one."""
    _limits[:] = [max(1, math.ceil(count))]


def usable_cores(process: Path = PROCESS) -> int:
    """Return the number of threads that can compute at the same time, at least 1.

    A quota of one and a half cores counts as two.

    Args:
        process: Folder with the ``cgroup`` and ``mountinfo`` of this process.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([affinity, *map(math.ceil, _quotas(process)), *_limits]))


def find_control_groups(controller: str, process: Path = PROCESS) -> Iterator[Path]:
    """Yield the folders of the process's control groups, and of all groups around them.

    Linux divides resources by groups in two versions: `cgroups(7)`.

    Args:
        controller: Of the resource, such as ``cpu`` or ``memory``.
        process: Folder with the ``cgroup`` and ``mountinfo`` of this process.
    """
    for mount, group in _find_mounts(controller, process):
        folder = mount / group
        for level in (folder, *folder.parents):
            yield level
            if level == mount:
                break


def _quotas(process: Path) -> Iterator[float]:
    """Yield the quotas in cores: the kernel's cgroup-v2 and sched-bwc documents."""
    for group in find_control_groups("cpu", process):
        if quota := _read_quota(group):
            yield quota


def _find_mounts(controller: str, process: Path) -> Iterator[tuple[Path, str]]:
    """Yield where the groups of a controller are mounted, and the path of the process's group below that."""
    groups = {}
    for line in read_control(process / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers or controller in controllers.split(","):
            groups["cgroup" if controllers else "cgroup2"] = path
    for line in read_control(process / "mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        root, mount = before.split()[3:5]
        kind, _, options = after.split(maxsplit=2)
        if kind in groups and (kind == "cgroup2" or controller in options.split(",")):
            yield Path(mount), _below(groups[kind], root)


def _below(group: str, root: str) -> str:
    """Return the path of a group relative to the mounted one.

    A container often sees only its own group, mounted as if it were the outermost.
    """
    path = Path(group)
    return str(path.relative_to(root)) if path.is_relative_to(root) and ".." not in path.parts else ""


def _read_quota(folder: Path) -> float | None:
    """Return the quota of a group in cores; None without one."""
    if limit := read_control(folder / "cpu.max"):
        quota, period = limit.split()
        return None if quota == "max" else int(quota) / int(period)
    quota, period = (read_control(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    return int(quota) / int(period) if quota and period and int(quota) > 0 else None


def read_control(path: Path) -> str:
    """Return the text of a control file; empty if it is missing."""
    try:
        return path.read_text()
    # Not Linux, or a group that this process may not see.
    except OSError:
        return ""
