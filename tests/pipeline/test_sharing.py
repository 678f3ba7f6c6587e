"""A team shares a run through an S3 server on loopback: restored runs, and the messages of failures."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import tiny_repository as tiny
from clones import call
from s3_server import CREDENTIALS, s3_client, serve_s3
from visiongate.adapters.dvc import DvcError
from visiongate.sharing.address import team_remote
from visiongate.sharing.remotes import object_path, pull, push, set_remote

BUCKET = "team"
SOURCES = str(Path(__file__).parents[2] / "src")
pytestmark = pytest.mark.slow


class Team:
    """A repository and the bucket that holds its last commit."""

    def __init__(self, folder: Path, endpoint: str) -> None:
        self.folder, self.endpoint, self.client = folder, endpoint, s3_client(endpoint)
        self.client.create_bucket(Bucket=BUCKET)
        self.origin = tiny.make_repository(folder / "origin")
        set_remote(self.origin, team_remote(f"s3://{BUCKET}/path", endpoint))
        tiny.commit(self.origin)
        self.outputs = tiny.contents(self.origin)
        self.clones = 0

    def colleague(self, address: str | None = None, bucket: str = BUCKET) -> Path:
        """Return a fresh clone, with an address of its own for the remote."""
        self.clones += 1
        clone = tiny.clone(self.origin, self.folder / f"clone{self.clones}")
        config = (clone / ".dvc/config").read_text().replace(f"s3://{BUCKET}/", f"s3://{bucket}/")
        (clone / ".dvc/config").write_text(config.replace(self.endpoint, address or self.endpoint))
        return clone

    def author(self) -> Path:
        """Return a copy of the origin, with its cache."""
        self.clones += 1
        return tiny.copy(self.origin, self.folder / f"copy{self.clones}")

    def key(self, path: str) -> str:
        """Return the key of an output in the bucket."""
        stages = yaml.safe_load((self.origin / "dvc.lock").read_text())["stages"].values()
        (md5,) = [out["md5"] for stage in stages for out in stage["outs"] if out["path"] == path]
        return f"path/{object_path(md5)}"


@pytest.fixture(autouse=True)
def _credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_credentials(tmp_path, monkeypatch)


def use_credentials(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Set the server's credentials and no others, and a folder for what DVC stores outside a repository."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        patch.delenv(name)
    for name, value in CREDENTIALS.items():
        patch.setenv(name, value)
    patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(folder / "credentials"))
    patch.setenv("AWS_CONFIG_FILE", str(folder / "config"))
    patch.setenv("DVC_SITE_CACHE_DIR", str(folder))


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    folder = tmp_path_factory.mktemp("team")
    with serve_s3() as endpoint, pytest.MonkeyPatch.context() as patch:
        use_credentials(folder, patch)
        yield Team(folder, endpoint)


def check_pull(team: Team, clone: Path) -> None:
    pull(clone)
    assert tiny.contents(clone) == team.outputs


def test_a_fresh_clone_pulls_from_a_new_default_remote(team: Team) -> None:
    check_pull(team, team.colleague())


def test_a_colleague_fetches_a_finished_run_and_does_not_compute_it(team: Team) -> None:
    author, colleague = team.author(), team.colleague()
    for folder in (author, colleague):
        (folder / "images.txt").write_text("second")
    call(author, "dvc", "repro")
    push(author)
    trace = colleague / "trace"

    call(colleague, "dvc", "repro", "--pull", TRACE=str(trace))

    assert not trace.exists()
    assert tiny.contents(colleague) == tiny.contents(author) != team.outputs
    assert (colleague / "dvc.lock").read_text() == (author / "dvc.lock").read_text()


def test_a_fresh_clone_runs_the_changed_stage_alone(team: Team) -> None:
    clone = team.colleague()
    (clone / "params.yaml").write_text("width: 2\n")
    call(clone, "dvc", "repro", "--pull", "--allow-missing", TRACE=str(clone / "trace"))
    assert (clone / "trace").read_text().split() == ["train"]


def test_missing_credentials_are_explained(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "")
    check_failure(team.colleague(), "AWS credentials")


def test_a_missing_bucket_is_explained(team: Team) -> None:
    check_failure(team.colleague(bucket="nobodys"), "the bucket does not exist")


def test_an_unreachable_server_is_explained(team: Team) -> None:
    check_failure(team.colleague("http://127.0.0.1:9"), r"http://127\.0\.0\.1:9 cannot be reached")


def check_failure(clone: Path, symptom: str, transfer: Callable[[Path], Any] = pull) -> None:
    with pytest.raises(DvcError, match=symptom) as raised:
        transfer(clone)
    assert "\n" not in str(raised.value)


def alter(body: bytes) -> bytes:
    return body[:-3] + b"???"


@pytest.mark.parametrize("path", ["data", "model"])
def test_an_object_that_the_remote_lost_is_named(team: Team, path: str) -> None:
    key, clone = team.key(path), team.colleague()
    body = team.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    team.client.delete_object(Bucket=BUCKET, Key=key)
    try:
        check_failure(clone, f"^dvc pull: {path} is missing or damaged")
    finally:
        team.client.put_object(Bucket=BUCKET, Key=key, Body=body)
    check_pull(team, clone)


def test_an_object_that_was_damaged_in_the_remote_is_never_pulled(team: Team) -> None:
    key, clone = team.key("model"), team.colleague()
    body = team.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    team.client.put_object(Bucket=BUCKET, Key=key, Body=alter(body))
    try:
        check_failure(clone, "model is missing or damaged")
    finally:
        team.client.put_object(Bucket=BUCKET, Key=key, Body=body)
    assert "model" not in tiny.contents(clone)
    check_pull(team, clone)


def test_an_object_that_is_nowhere_fails_the_push(team: Team) -> None:
    author = team.author()
    (author / "images.txt").write_text("third")
    call(author, "dvc", "repro")
    shutil.rmtree(author / ".dvc/cache")
    check_failure(author, "dvc push", push)


def test_a_full_disk_is_explained_and_the_next_pull_resumes(team: Team) -> None:
    clone = team.colleague()
    # A file may have 2 MB, in blocks of 512 bytes; the model has 3 MB.
    script = f"ulimit -f 4000; exec '{sys.executable}' -c 'from visiongate.sharing.remotes import pull; pull(\".\")'"
    kept = {name: value for name, value in os.environ.items() if name.startswith("DVC_")}
    done = call(clone, "sh", "-c", script, check=False, PYTHONPATH=SOURCES, **kept)
    assert "the disk is full" in done.stderr.splitlines()[-1]
    assert "model" not in tiny.contents(clone)
    check_pull(team, clone)
