"""Which addresses a remote may have."""

from pathlib import Path

import pytest

from visiongate.sharing.address import AddressError, folder_remote, team_remote


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("s3://bucket", ""),
        ("s3://bucket/path/", "https://minio.example.org:9000/"),
        ("gs://bucket/path", ""),
        ("ssh://me@example.org:22/data", ""),
    ],
)
def test_an_address_of_a_team_is_verified_by_dvc(url: str, endpoint: str) -> None:
    remote = team_remote(url, endpoint)
    assert (remote.name, remote.url, remote.is_local) == ("shared", url.rstrip("/"), False)
    assert remote.options["verify"] == "true"
    assert remote.options.get("endpointurl", "") == endpoint.rstrip("/")
    assert ("connect_timeout" in remote.options) == url.startswith("s3://")


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("", ""),
        ("bucket/path", ""),
        ("/folder", ""),
        ("ftp://host/path", ""),
        ("s3:///path", ""),
        ("s3://me@bucket/path", ""),
        ("s3://bucket/a b", ""),
        ("s3://bucket/\n[core]", ""),
        ("ssh://host:port/path", ""),
        ("s3://bucket/path", "minio:9000"),
        ("s3://bucket/path", "ftp://minio"),
        ("gs://bucket/path", "http://minio"),
    ],
)
def test_an_invalid_address_is_refused_in_one_line(url: str, endpoint: str) -> None:
    with pytest.raises(AddressError) as raised:
        team_remote(url, endpoint)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("s3://AKIA:s3cret@bucket/path", ""),
        ("s3://AKIA:s3/cret@bucket/path", ""),
        ("ssh://me:s3cret@host/path", ""),
        ("azure://container/path?sig=s3cret", ""),
        ("s3://bucket/path", "https://me:s3cret@minio"),
    ],
)
def test_a_password_is_refused_and_not_shown(url: str, endpoint: str) -> None:
    with pytest.raises(AddressError) as raised:
        team_remote(url, endpoint)
    assert "cret" not in str(raised.value)


def test_a_folder_may_be_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    remote = folder_remote("~/it's $(id)", tmp_path / "repository")
    assert (remote.name, remote.url, remote.is_local) == ("folder", str(tmp_path / "it's $(id)"), True)


@pytest.mark.parametrize(
    "folder",
    [
        "",
        "data",
        "{here}/a\nb",
        "{here}/repository/store",
        "{here}/link/store",
        "{here}/file",
        "{here}/no/data",
    ],
)
def test_an_unsuitable_folder_is_refused(folder: str, tmp_path: Path) -> None:
    (tmp_path / "repository").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "repository")
    (tmp_path / "file").touch()
    with pytest.raises(AddressError):
        folder_remote(folder.format(here=tmp_path), tmp_path / "repository")
