"""Pushing and pulling by S3's protocol with real DVC, and what happens when the storage, the network or the disk fails."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import s3_faults
import tiny_repository as tiny
from clones import call, clone_tree
from s3_server import CREDENTIALS, s3_client, serve_s3
from visiongate.dvc_process import run_dvc
from visiongate.sharing.address import team_remote
from visiongate.sharing.objects import locked_objects
from visiongate.sharing.transfer import TransferError, pull, push

BUCKET = "team"
QUICK = ("evaluation.latency_runs=5", "evaluation.bootstrap_samples=50")
COMMAND = (sys.executable, "-m", "visiongate.commands.remote")
SOURCES = str(Path(__file__).parents[2] / "src")


def point_to(repository: Path, endpoint: str, bucket: str = BUCKET, **options: str) -> Path:
    """Write the settings that `make remote` leaves, which other tests look at."""
    remote = team_remote(f"s3://{bucket}/path", endpoint)
    settings = {"url": remote.url, **remote.options, **options}
    lines = [f"    {name} = {value}" for name, value in settings.items()]
    header = ["[core]", "    remote = shared", "['remote \"shared\"']"]
    (repository / ".dvc/config").write_text("\n".join([*header, *lines, ""]))
    return repository


class Team:
    """A remote that holds what a repository committed, and the proxy by which it is reached."""

    def __init__(self, folder: Path, proxy: s3_faults.Proxy, client: Any) -> None:  # noqa: ANN401 - boto3's
        self.folder, self.proxy, self.client = folder, proxy, client
        self.origin = tiny.make_repository(folder / "origin")
        self.whole = tiny.contents(self.origin)
        self.count = 0
        point_to(self.origin, proxy.endpoint)
        push(tiny.commit(self.origin))

    def colleague(self) -> Path:
        """Return a fresh clone of the origin."""
        self.count += 1
        return tiny.clone(self.origin, self.folder / f"clone{self.count}")

    def author(self) -> Path:
        """Return a copy of the origin, with what its cache holds."""
        self.count += 1
        return tiny.copy(self.origin, self.folder / f"copy{self.count}")

    def key(self, name: str) -> str:
        """Return the key of a file's or folder's object."""
        (origin,) = [oid for oid, path in self.objects().items() if path == name]
        return f"path/files/md5/{origin[:2]}/{origin[2:]}"

    def objects(self) -> dict[str, str]:
        """Return the objects of the origin's files by id."""
        locked = locked_objects(self.origin / "dvc.lock")
        files = {
            oid: name
            for oid, content in tiny.cached(self.origin).items()
            for name, whole in self.whole.items()
            if content == whole
        }
        return {**locked, **files}

    def read(self, name: str) -> bytes:
        """Return an object from the bucket."""
        body: bytes = self.client.get_object(Bucket=BUCKET, Key=self.key(name))["Body"].read()
        return body


@pytest.fixture(scope="module", autouse=True)
def _environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in tiny.without_aws():
            patch.delenv(name)
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path_factory.mktemp("site")))
        patch.setenv("GIT_CONFIG_COUNT", "0")
        yield


@pytest.fixture(scope="module")
def everybody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    with serve_s3() as endpoint, s3_faults.serve_faults(endpoint) as proxy:
        client = s3_client(endpoint)
        client.create_bucket(Bucket=BUCKET)
        yield Team(tmp_path_factory.mktemp("team"), proxy, client)


@pytest.fixture
def team(everybody: Team) -> Iterator[Team]:
    yield everybody
    everybody.proxy.fault = s3_faults.pass_on


def check_whole(team: Team, clone: Path) -> None:
    """Check that what the line made is there to the byte, and that its cache holds nothing else."""
    assert tiny.contents(clone) == team.whole
    check_cache(team, clone)


def check_cache(team: Team, clone: Path) -> None:
    """Check that each object in its cache is what its name says."""
    known = tiny.cached(team.origin)
    assert all(known[oid] == content for oid, content in tiny.cached(clone).items())


def check_told(raised: pytest.ExceptionInfo[TransferError], *told: str) -> None:
    assert "\n" not in str(raised.value)
    for words in told:
        assert words in str(raised.value)


# What is pushed and pulled


def test_a_fresh_clone_pulls_what_was_pushed(team: Team) -> None:
    clone = team.colleague()
    pull(clone)
    check_whole(team, clone)


def test_what_the_remote_lost_is_pushed_again(team: Team) -> None:
    keys = [
        team.key(name) for name in ("data/0.bin", "model", "metrics.json")
    ]  # but not the list of data's files
    for key in keys:
        team.client.delete_object(Bucket=BUCKET, Key=key)
    push(team.author())
    for key in keys:
        assert team.client.head_object(Bucket=BUCKET, Key=key)


def test_nothing_to_push_from_is_told_with_the_file(team: Team) -> None:
    key, author = team.key("model"), team.author()
    kept = team.read("model")
    team.client.delete_object(Bucket=BUCKET, Key=key)
    shutil.rmtree(author / ".dvc/cache")
    try:
        with pytest.raises(TransferError) as raised:
            push(author)
    finally:
        team.client.put_object(Bucket=BUCKET, Key=key, Body=kept)
    check_told(raised, "model is neither in this clone's cache nor in the remote")


# What a colleague computed


def change(folder: Path, text: str) -> Path:
    (folder / "images.txt").write_text(text)
    return folder / "trace"


def test_a_colleagues_finished_run_is_fetched_and_not_computed(team: Team) -> None:
    author, colleague = team.author(), team.colleague()
    trace = change(author, "second")
    call(author, "dvc", "repro", TRACE=str(trace))
    assert trace.read_text().split() == ["prepare", "train"]
    push(author)
    trace = change(colleague, "second")
    told = call(colleague, "dvc", "repro", "--pull", TRACE=str(trace)).stdout
    assert not trace.exists(), told
    assert told.count("is cached - skipping run") == 2
    assert tiny.contents(colleague) == tiny.contents(author) != team.whole
    assert (colleague / "dvc.lock").read_text() == (author / "dvc.lock").read_text()


def test_dvc_push_alone_leaves_the_colleague_to_compute_it(team: Team) -> None:
    author, colleague = team.author(), team.colleague()
    call(author, "dvc", "repro", TRACE=str(change(author, "third")))
    run_dvc(["push", "--run-cache"], author)
    trace = change(colleague, "third")
    call(colleague, "dvc", "repro", "--pull", TRACE=str(trace))
    assert trace.read_text().split() == ["train"], "push_all is no longer needed"


def test_a_changed_stage_alone_runs_in_a_fresh_clone(team: Team) -> None:
    clone = team.colleague()
    (clone / "params.yaml").write_text("width: 2\n")
    call(clone, "dvc", "repro", "--pull", "--allow-missing", TRACE=str(clone / "trace"))
    assert (clone / "trace").read_text().split() == ["train"]
    assert len((clone / "model").read_bytes()) > 2 * len(team.whole["model"]) - 100


def test_an_experiment_is_pushed_and_pulled(team: Team, tmp_path: Path) -> None:
    author, colleague = team.author(), team.colleague()
    call(tmp_path, "git", "init", "-q", "--bare", "hub.git")
    for folder in (author, colleague):
        call(folder, "git", "remote", "add", "hub", str(tmp_path / "hub.git"))
    call(author, "git", "push", "-q", "hub", "HEAD")
    call(author, "dvc", "exp", "run", "--name", "wider", "-S", "width=3")
    run_dvc(["exp", "push", "hub", "wider"], author)
    run_dvc(["exp", "pull", "hub", "wider"], colleague)
    run_dvc(["exp", "apply", "wider"], colleague)
    assert tiny.contents(colleague)["model"] == tiny.contents(author)["model"] != team.whole["model"]
    assert '"width": 3' in (colleague / "metrics.json").read_text()


# Faults of the storage and the network

Fault = tuple[s3_faults.Fault, str]
STORAGE: dict[str, Fault] = {
    "expired": (s3_faults.refuse("ExpiredToken"), "wrong or expired"),
    "no bucket": (s3_faults.refuse("NoSuchBucket", 404), "the bucket does not exist"),
    "broken": (s3_faults.die_after(0), "the connection to the storage broke off"),
}


@pytest.mark.parametrize("name", STORAGE)
def test_a_storage_that_refuses_is_told_in_one_line_and_the_next_pull_completes(
    team: Team, name: str
) -> None:
    clone = team.colleague()
    team.proxy.fault, told = STORAGE[name]
    with pytest.raises(TransferError) as raised:
        pull(clone)
    check_told(raised, told)
    assert tiny.contents(clone) == {}
    team.proxy.fault = s3_faults.pass_on
    pull(clone)
    check_whole(team, clone)


def test_a_refused_push_says_why(team: Team) -> None:
    team.proxy.fault = s3_faults.refuse("ExpiredToken")
    with pytest.raises(TransferError) as raised:
        push(team.author())
    check_told(raised, "the AWS session has expired: log in again")


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "no AWS credentials were found"),
        ({"AWS_PROFILE": "nobody"}, "the AWS profile nobody does not exist"),
    ],
)
def test_missing_credentials_are_told(
    team: Team, environment: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TransferError) as raised:
        pull(team.colleague())
    check_told(raised, told)


def test_an_unreachable_server_is_told_soon(team: Team) -> None:
    clone = point_to(team.colleague(), "http://127.0.0.1:9")
    with pytest.raises(TransferError) as raised:
        pull(clone)
    check_told(raised, "http://127.0.0.1:9 cannot be reached")


def test_a_server_that_does_not_answer_is_given_up(team: Team) -> None:
    clone, end = point_to(team.colleague(), team.proxy.endpoint, read_timeout="1"), threading.Event()
    team.proxy.fault = s3_faults.hang(end)
    try:
        with pytest.raises(TransferError) as raised:
            pull(clone)
    finally:
        end.set()
    check_told(raised, f"{team.proxy.endpoint} does not answer")


# Single objects

OBJECTS = ["data", "data/0.bin", "model"]


@pytest.mark.parametrize("name", OBJECTS)
def test_a_missing_object_is_named_and_the_next_pull_completes(team: Team, name: str) -> None:
    clone = team.colleague()
    team.proxy.fault = s3_faults.lose(team.key(name))
    with pytest.raises(TransferError) as raised:
        pull(clone)
    check_told(raised, f"{name} is not in the remote")
    check_cache(team, clone)
    team.proxy.fault = s3_faults.pass_on
    pull(clone)
    check_whole(team, clone)


@pytest.mark.parametrize(
    ("name", "alter"),
    [
        pytest.param("data", lambda body: body[: len(body) // 2], id="folder-truncated"),
        pytest.param("data/0.bin", lambda body: body[:-3] + b"???", id="file-altered"),
        pytest.param("model", lambda _: b"", id="file-emptied"),
    ],
)
def test_a_damaged_object_is_named_and_never_taken_for_whole(
    team: Team, name: str, alter: Callable[[bytes], bytes]
) -> None:
    clone, key, whole = team.colleague(), team.key(name), team.read(name)
    team.client.put_object(Bucket=BUCKET, Key=key, Body=alter(whole))
    try:
        with pytest.raises(TransferError) as raised:
            pull(clone)
    finally:
        team.client.put_object(Bucket=BUCKET, Key=key, Body=whole)
    check_told(raised, f"{name} is damaged in the remote: delete s3://{BUCKET}/{key}")
    check_cache(team, clone)
    assert tiny.contents(clone).items() <= team.whole.items()
    pull(clone)
    check_whole(team, clone)


def test_an_object_that_breaks_off_on_the_way_is_not_kept(team: Team) -> None:
    clone = team.colleague()
    team.proxy.fault = s3_faults.cut(team.key("model"))
    with pytest.raises(TransferError) as raised:
        pull(clone)
    check_told(raised, "the connection to the storage broke off")
    check_cache(team, clone)
    team.proxy.fault = s3_faults.pass_on
    pull(clone)
    check_whole(team, clone)


# Interruptions


@pytest.fixture
def empty(team: Team) -> str:
    """The name of a bucket with nothing in it."""
    team.count += 1
    name = f"bucket-{team.count}"
    team.client.create_bucket(Bucket=name)
    return name


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
    check_cache_of_whole_names(team, clone)
    pull(clone)
    check_whole_but_for_temporary(team, clone)


def check_cache_of_whole_names(team: Team, clone: Path) -> None:
    known = tiny.cached(team.origin)
    assert all(known[oid] == content for oid, content in tiny.cached(clone).items() if oid in known)


def check_whole_but_for_temporary(team: Team, clone: Path) -> None:
    assert tiny.contents(clone) == team.whole
    check_cache_of_whole_names(team, clone)


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


# A full disk


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


def kept() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("DVC_")}


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
        command=" ".join(f"'{word}'" for word in (*COMMAND, "pull")),
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


# The real line


def test_on_a_fresh_clone_a_new_threshold_runs_what_reads_it_and_pulls_what_that_needs(
    team: Team, empty: str, tmp_path: Path
) -> None:
    author = clone_tree(tmp_path / "author")
    run_dvc(["fetch", "--remote", "store"], author)
    push(tiny.commit(point_to(author, team.proxy.endpoint, empty)))
    clone = tiny.clone(author, tmp_path / "clone")
    rules = clone / "conf/gate/default.yaml"
    rules.write_text(rules.read_text().replace("threshold: 0.5, classes", "threshold: 0.6, classes"))
    call(clone, sys.executable, "-m", "visiongate.compose", *QUICK, PYTHONPATH="src")
    told = call(clone, "dvc", "repro", "--pull", "--allow-missing").stdout
    stages = yaml.safe_load((clone / "dvc.yaml").read_text())["stages"]
    assert [name for name in stages if f"Running stage '{name}'" in told] == ["evaluate", "register"], told
    assert (clone / "data/transformed").exists()
    assert not (clone / "data/raw").exists()
