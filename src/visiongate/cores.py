"""How many cores this process may use: its affinity, and the CPU quota of its container."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

PROCESS = Path("/proc/self")


def usable_cores(process: Path = PROCESS) -> int:
    """Return the number of threads that can compute at the same time, at least 1.

    A quota of one and a half cores counts as two.

    Args:
        process: Folder with the ``cgroup`` and ``mountinfo`` of this process.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([affinity, *map(math.ceil, _quotas(process))]))


def _quotas(process: Path) -> Iterator[float]:
    """Yield the quotas, in cores, of the process's control groups and of all groups around them.

    Linux divides time by groups in two versions: `cgroups(7)`, and the kernel's cgroup-v2 and sched-bwc documents.
    """
    for mount, group in _cpu_groups(process):
        folder = mount / group
        for level in (folder, *folder.parents):
            if quota := _read_quota(level):
                yield quota
            if level == mount:
                break


def _cpu_groups(process: Path) -> Iterator[tuple[Path, str]]:
    """Yield where the groups of a CPU controller are mounted, and the path of the process's group below that."""
    groups = {}
    for line in _read(process / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers or "cpu" in controllers.split(","):
            groups["cgroup" if controllers else "cgroup2"] = path
    for line in _read(process / "mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        root, mount = before.split()[3:5]
        kind, _, options = after.split(maxsplit=2)
        if kind in groups and (kind == "cgroup2" or "cpu" in options.split(",")):
            yield Path(mount), _below(groups[kind], root)


def _below(group: str, root: str) -> str:
    """Return the path of a group relative to the mounted one.

    A container often sees only its own group, mounted as if it were the outermost.
    """
    path = Path(group)
    return str(path.relative_to(root)) if path.is_relative_to(root) and ".." not in path.parts else ""


def _read_quota(folder: Path) -> float | None:
    """Return the quota of a group in cores; None without one."""
    if limit := _read(folder / "cpu.max"):
        quota, period = limit.split()
        return None if quota == "max" else int(quota) / int(period)
    quota, period = (_read(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    return int(quota) / int(period) if quota and period and int(quota) > 0 else None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    # Not Linux, or a group that this process may not see.
    except OSError:
        return ""
