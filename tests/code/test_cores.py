"""The number of cores follows affinity and the quotas of both versions of control groups."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from visiongate.cores import usable_cores

AFFINITY = 8
V1 = Path("/sys/fs/cgroup/cpu")


@pytest.fixture(autouse=True)
def affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(AFFINITY)), raising=False)


def write_group(folder: Path, quota: str, period: int = 100_000, version: int = 2) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if version == 2:
        (folder / "cpu.max").write_text(f"{quota} {period}\n")
    else:
        (folder / "cpu.cfs_quota_us").write_text(f"{quota}\n")
        (folder / "cpu.cfs_period_us").write_text(f"{period}\n")


def write_process(folder: Path, group: str, version: int = 2, root: str = "/") -> Path:
    """Write the process's files; its groups are mounted at ``mount`` beside them."""
    mount = folder / "mount"
    kind, options = ("cgroup2", "rw,nsdelegate") if version == 2 else ("cgroup", "rw,cpu,cpuacct")
    controllers = "" if version == 2 else "cpu,cpuacct"
    (folder / "cgroup").write_text(f"9:name=systemd:/other\n3:cpuset:/\n1:{controllers}:{group}\n")
    (folder / "mountinfo").write_text(
        "22 27 0:21 / /proc rw,relatime - proc proc rw\n"
        f"34 31 0:31 / {folder / 'elsewhere'} rw - cgroup cgroup rw,cpuset\n"
        f"41 31 0:38 {root} {mount} rw,relatime shared:9 - {kind} {kind} {options}\n"
    )
    return mount


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(("quota", "cores"), [(50_000, 1), (100_000, 1), (150_000, 2), (1_600_000, AFFINITY)])
def test_follows_the_quota_rounded_up(tmp_path: Path, version: int, quota: int, cores: int) -> None:
    mount = write_process(tmp_path, "/pod/container", version)
    write_group(mount / "pod/container", str(quota), version=version)
    assert usable_cores(tmp_path) == cores


@pytest.mark.parametrize("version", [1, 2])
def test_without_a_quota_affinity_counts(tmp_path: Path, version: int) -> None:
    write_group(write_process(tmp_path, "/", version), "-1" if version == 1 else "max", version=version)
    assert usable_cores(tmp_path) == AFFINITY


@pytest.mark.parametrize("version", [1, 2])
def test_a_group_around_it_can_be_narrower(tmp_path: Path, version: int) -> None:
    mount = write_process(tmp_path, "/pod/container", version)
    write_group(mount / "pod", "300000", version=version)
    write_group(mount / "pod/container", "-1" if version == 1 else "max", version=version)
    assert usable_cores(tmp_path) == 3


@pytest.mark.parametrize(
    ("group", "root"),
    [("/docker/1f", "/docker/1f"), ("/../../elsewhere", "/"), ("/docker/1f", "/another"), ("/", "/")],
)
def test_a_container_sees_its_own_group_as_the_outermost(tmp_path: Path, group: str, root: str) -> None:
    write_group(write_process(tmp_path, group, root=root), "200000")
    assert usable_cores(tmp_path) == 2


def test_outside_linux_affinity_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert usable_cores(tmp_path) == AFFINITY
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores(tmp_path) == 1


@pytest.mark.skipif(not os.access(V1, os.W_OK), reason="this user cannot make a control group")
def test_a_real_group() -> None:
    group = V1 / f"visiongate-test-{os.getpid()}"
    group.mkdir()
    try:
        (group / "cpu.cfs_quota_us").write_text("50000")
        enter = f"open({str(group / 'cgroup.procs')!r}, 'w').write('0')"
        script = f"{enter}; from visiongate.cores import usable_cores; print(usable_cores())"
        assert subprocess.check_output([sys.executable, "-c", script], text=True).strip() == "1"
    finally:
        group.rmdir()
