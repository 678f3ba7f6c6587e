"""Transfers that are cut short, by kill, by a server's death and by a full disk: the next try completes."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import s3_faults
import tiny_repository as tiny
from clones import call
from s3_server import s3_client, serve_s3
from shared_team import BUCKET, Team, check_cache, check_told, check_whole, point_to
from visiongate.sharing.transfer import TransferError, pull, push

SOURCES = str(Path(__file__).parents[2] / "src")
PULL = (sys.executable, "-m", "visiongate.commands.remote", "pull")


def check_pushed(team: Team, author: Path, folder: Path) -> None:
    """Check that another's clone can have everything."""
    clone = tiny.clone(author, folder / "after")
    pull(clone)
    check_whole(team, clone)


def test_a_push_goes_on_after_the_server_died_in_it(team: Team, empty: str, tmp_path: Path) -> None:
    author = tiny.commit(point_to(team.author(), team.proxy.endpoint, empty))
    team.proxy.fault = s3_faults.die_after(len(team.proxy.requests) + 12)
    with pytest.raises(TransferError) as raised:
        push(author)
    check_told(raised, "the connection to the storage broke off")
    team.proxy.fault = s3_faults.pass_on
    push(author)
    check_pushed(team, author, tmp_path)


class Stopped:
    """A fault that holds a transfer at one of its requests."""

    def __init__(self, method: str, number: int) -> None:
        self.method, self.left = method, number
        self.reached, self.released = threading.Event(), threading.Event()

    def __call__(
        self, request: s3_faults.Request, forward: Callable[[], s3_faults.Reply]
    ) -> s3_faults.Reply | None:
        if request.method == self.method and "/files/md5/" in request.path:
            self.left -= 1
            if self.left < 0:
                self.reached.set()
                self.released.wait()
                return None
        return forward()


def kill_at(team: Team, stop: Stopped, arguments: list[str], repository: Path) -> None:
    team.proxy.fault = stop
    with subprocess.Popen([sys.executable, "-m", "dvc", *arguments, "--quiet"], cwd=repository) as process:
        try:
            assert stop.reached.wait(60)
        finally:
            process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    team.proxy.fault = s3_faults.pass_on
    stop.released.set()


def test_a_push_goes_on_after_it_was_killed(team: Team, empty: str, tmp_path: Path) -> None:
    author = tiny.commit(point_to(team.author(), team.proxy.endpoint, empty))
    kill_at(team, Stopped("PUT", 2), ["push", "--run-cache", "--jobs", "1"], author)
    pushed = team.client.list_objects_v2(Bucket=empty)["KeyCount"]
    assert 1 <= pushed < len(team.objects())
    push(author)
    check_pushed(team, author, tmp_path)


def test_a_pull_goes_on_after_it_was_killed(team: Team) -> None:
    clone = team.colleague()
    kill_at(team, Stopped("GET", 3), ["pull", "--jobs", "1"], clone)
    check_cache(team, clone)
    pull(clone)
    check_whole(team, clone)


def test_a_push_goes_on_after_the_server_was_killed_and_lost_all(team: Team, tmp_path: Path) -> None:
    author = team.author()
    with serve_s3() as endpoint:
        s3_client(endpoint).create_bucket(Bucket=BUCKET)
        push(point_to(author, endpoint))
    with pytest.raises(TransferError, match="cannot be reached"):
        push(author)
    with serve_s3(int(endpoint.rpartition(":")[2])) as again:
        assert again == endpoint
        s3_client(endpoint).create_bucket(Bucket=BUCKET)
        push(author)
        check_pushed(team, tiny.commit(author), tmp_path)


def kept() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("DVC_")}


def test_a_file_that_the_disk_does_not_take_is_told_and_the_next_pull_completes(team: Team) -> None:
    clone = team.colleague()
    limited = (
        f"ulimit -f 4000; exec '{sys.executable}' -m visiongate.commands.remote pull"  # of 512 bytes each
    )
    result = call(clone, "sh", "-c", limited, check=False, PYTHONPATH=SOURCES, **kept())
    assert result.returncode == 1
    assert (
        result.stderr
        == "pull: the disk is full: make room, and repeat the command, which goes on where it stopped\n"
    )
    assert "model" not in tiny.contents(clone)
    check_cache(team, clone)
    pull(clone)
    check_whole(team, clone)


ON_A_SMALL_DISK = """
mount -t tmpfs -o size={size}k tmpfs {disk} && git clone -q {origin} {disk}/clone && cd {disk}/clone || exit 99
head -c {filled} /dev/zero > ../filled
{command}; echo "exit $?" >&2
rm ../filled
{command}; echo "exit $?" >&2
cat model data/*.bin > {result}
"""


def test_a_disk_that_is_full_at_the_checkout_is_told_and_the_next_pull_completes(
    team: Team, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    tool = ["unshare", "--map-root-user", "--mount"]
    if (
        shutil.which("unshare") is None
        or call(disk, *tool, "mount", "-t", "tmpfs", "tmpfs", str(disk), check=False).returncode
    ):
        pytest.skip("a disk of one's own cannot be mounted here")
    script = ON_A_SMALL_DISK.format(
        size=11_000,
        disk=disk,
        origin=team.origin,
        filled=6_000 * 1024,  # the cache has room besides, its copy in the work tree has not
        result=tmp_path / "result",
        command=" ".join(f"'{word}'" for word in PULL),
    )
    result = call(tmp_path, *tool, "sh", "-c", script, check=False, PYTHONPATH=SOURCES, **kept())
    lines = result.stderr.splitlines()
    assert lines == [
        "pull: the disk is full: make room, and repeat the command, which goes on where it stopped",
        "exit 1",
        "exit 0",
    ]
    names = ("model", "data/0.bin", "data/1.bin", "data/2.bin", "data/3.bin")
    assert (tmp_path / "result").read_bytes() == b"".join(team.whole[name] for name in names)
