"""A team that shares a tiny repository by an S3 server on loopback, with a proxy between that can fail."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import s3_faults
import tiny_repository as tiny
from s3_server import CREDENTIALS, s3_client, serve_s3
from visiongate.sharing.address import team_remote
from visiongate.sharing.objects import locked_objects
from visiongate.sharing.transfer import TransferError, push

BUCKET = "team"


def use_credentials(patch: pytest.MonkeyPatch, site: Path) -> None:
    """Have the server's credentials and no others, and a folder of one's own for what DVC keeps beside a repository."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        patch.delenv(name)
    for name, value in CREDENTIALS.items():
        patch.setenv(name, value)
    patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(site / "credentials"))
    patch.setenv("AWS_CONFIG_FILE", str(site / "config"))
    patch.setenv("DVC_SITE_CACHE_DIR", str(site))


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


@pytest.fixture(scope="session")
def everybody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """The team, which the tests of a process have in common."""
    with serve_s3() as endpoint, s3_faults.serve_faults(endpoint) as proxy:
        client = s3_client(endpoint)
        client.create_bucket(Bucket=BUCKET)
        with pytest.MonkeyPatch.context() as patch:
            use_credentials(patch, tmp_path_factory.mktemp("site"))
            made = Team(tmp_path_factory.mktemp("team"), proxy, client)
        yield made


@pytest.fixture
def team(
    everybody: Team, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Team]:
    """The team, with nothing wrong to begin with."""
    use_credentials(monkeypatch, tmp_path_factory.mktemp("site"))
    yield everybody
    everybody.proxy.fault = s3_faults.pass_on


@pytest.fixture
def empty(team: Team) -> str:
    """The name of a bucket with nothing in it."""
    team.count += 1
    name = f"bucket-{team.count}"
    team.client.create_bucket(Bucket=name)
    return name


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
