"""What may be a remote's address, and what is refused before anything is written."""

from pathlib import Path

import pytest

from visiongate.sharing.address import AddressError, own_remote, team_remote


@pytest.mark.parametrize(
    ("url", "endpoint", "options"),
    [
        ("s3://bucket", "", {}),
        ("s3://my.bucket-1/a/b_c", "", {}),
        (
            "s3://bucket/path/",
            "https://minio.example.org:9000/",
            {"endpointurl": "https://minio.example.org:9000"},
        ),
        ("s3://bucket/path", "http://127.0.0.1:9000", {"endpointurl": "http://127.0.0.1:9000"}),
        ("s3://bucket/path", "http://[::1]", None),
        ("gs://bucket/path", "", {}),
        ("ssh://me@example.org:22/data", "", {}),
    ],
)
def test_an_address_of_a_team(url: str, endpoint: str, options: dict[str, str] | None) -> None:
    if options is None:
        with pytest.raises(AddressError):
            team_remote(url, endpoint)
        return
    remote = team_remote(url, endpoint)
    assert (remote.name, remote.url, remote.own) == ("shared", url.rstrip("/"), False)
    assert remote.options["verify"] == "true"
    assert {name: value for name, value in remote.options.items() if name == "endpointurl"} == options
    assert ("connect_timeout" in remote.options) == url.startswith("s3://")


@pytest.mark.parametrize(
    ("url", "endpoint", "told"),
    [
        ("", "", "URL: must be given"),
        ("bucket/path", "", "is no address"),
        ("/folder", "", "make remote-local DIR="),
        ("--force", "", "is no address"),
        ("ftp://host/path", "", "must begin with one of s3://"),
        ("s3://", "", "names no bucket"),
        ("s3:///path", "", "names no bucket"),
        ("s3://Bucket_/path", "", "names no bucket"),
        ("s3://me@bucket/path", "", "takes a bucket and a path, no user"),
        ("s3://bucket/a b", "", "and nothing else"),
        ("s3://bucket/$(id)", "", "and nothing else"),
        ("s3://bucket/'", "", "and nothing else"),
        ("s3://bucket/\n[core]", "", "and nothing else"),
        ("ssh://host:port/path", "", "is no address"),
        ("s3://bucket/path", "minio:9000", "ENDPOINT=minio:9000: is no address"),
        ("s3://bucket/path", "ftp://minio", "must be an http or https address"),
        ("s3://bucket/path", "http://", "must be an http or https address"),
        ("gs://bucket/path", "http://minio", "goes with s3:// alone"),
    ],
)
def test_an_address_that_is_none(url: str, endpoint: str, told: str) -> None:
    with pytest.raises(AddressError) as raised:
        team_remote(url, endpoint)
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("s3://AKIA:s3cret@bucket/path", ""),
        ("s3://AKIA:s3/cret@bucket/path", ""),
        ("s3://AKIA:s 3cret@bucket/path", ""),
        ("ssh://me:s3cret@host/path", ""),
        ("ssh://me:12/s3cret@host/path", ""),
        ("ftp://me:s3cret@host/path", ""),
        ("me:s3cret@host", ""),
        ("azure://container/path?sig=s3cret", ""),
        ("s3://bucket/path", "https://me:s3cret@minio"),
        ("s3://bucket/path", "https://minio/?key=s3cret"),
        ("gs://bucket/path", "https://me:s3cret@minio"),
    ],
)
def test_a_password_is_refused_and_not_shown(url: str, endpoint: str) -> None:
    with pytest.raises(AddressError) as raised:
        team_remote(url, endpoint)
    assert "cret" not in str(raised.value)


@pytest.mark.parametrize("name", ["plain", "with space", "it's", 'the "q"', "$(id)", "100% #1, y", "ünï"])
def test_a_folder_of_any_spelling(name: str, tmp_path: Path) -> None:
    remote = own_remote(str(tmp_path / name), tmp_path / "repository")
    assert (remote.name, remote.url, remote.own) == ("folder", str(tmp_path / name), True)


def test_a_folder_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert own_remote("~/data", tmp_path / "repository").url == str(tmp_path / "data")


@pytest.mark.parametrize(
    ("folder", "told"),
    [
        ("", "DIR: must name a folder"),
        (" ", "DIR: must name a folder"),
        ("{here}/a\nb", "DIR: must name a folder"),
        ("data", "must be an absolute path"),
        ("{here}/repository", "lies in the repository"),
        ("{here}/repository/store", "lies in the repository"),
        ("{here}/other/../repository/store", "lies in the repository"),
        ("{here}/link/store", "lies in the repository"),
        ("{here}/file", "is a file"),
        ("{here}/none/data", "does not exist; make it, or mount it, first"),
    ],
)
def test_a_folder_that_cannot_be_one(folder: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "repository").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "repository")
    (tmp_path / "file").touch()
    with pytest.raises(AddressError, match=told):
        own_remote(folder.format(here=tmp_path), tmp_path / "repository")
