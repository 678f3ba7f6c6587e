"""Addresses of DVC remotes, checked before they are written to a file that git tracks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from visiongate.errors import VisiongateError

TEAM_REMOTE, FOLDER_REMOTE = "shared", "folder"
SCHEMES = ("s3", "gs", "azure", "ssh", "webdav", "webdavs", "oss", "gdrive")
# Without it, DVC caches an object that was damaged in the remote as if it were whole.
VERIFY = {"verify": "true"}
# Seconds. With the client's defaults, a host that does not answer fails after half an hour.
TIMEOUTS = {"connect_timeout": "5", "read_timeout": "30"}


class AddressError(VisiongateError):
    """An address that a remote cannot have."""


@dataclass(frozen=True, slots=True)
class Remote:
    """The name, address and options of a DVC remote."""

    name: str
    url: str
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_local(self) -> bool:
        """Whether the address is valid on this machine only, so that git must not track it."""
        return self.name == FOLDER_REMOTE


def team_remote(url: str, endpoint: str = "") -> Remote:
    """Return a remote that the whole team reaches under one address.

    Args:
        url: Such as ``s3://bucket/path``.
        endpoint: Address of an S3 server other than Amazon's, such as ``https://minio.example.org:9000``.

    Raises:
        AddressError: An address is invalid or contains a password.
    """
    parts = _split_address(url, "s3://bucket/path")
    if parts.scheme not in SCHEMES or not parts.hostname:
        schemes = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        raise AddressError(
            f"{url}: is not the address of a remote; give a bucket or host after one of {schemes}"
        )
    if parts.scheme != "s3":
        if endpoint:
            raise AddressError(f"{endpoint}: an endpoint is valid for s3:// only; remove it")
        return Remote(TEAM_REMOTE, url.rstrip("/"), VERIFY)
    if "@" in parts.netloc:
        raise AddressError(f"{url}: s3:// takes a bucket and a path; set AWS_PROFILE to choose a user")
    return Remote(TEAM_REMOTE, url.rstrip("/"), {**VERIFY, **TIMEOUTS, **_endpoint_option(endpoint)})


def folder_remote(folder: str, repository: Path) -> Remote:
    """Return a remote in a folder of this machine, such as a mounted disk.

    Raises:
        AddressError: The path is relative, lies in the repository, or cannot be created.
    """
    path = Path(folder).expanduser()
    if not path.is_absolute() or not folder.isprintable():
        raise AddressError(f"{folder!r}: is not an absolute path; give one such as /mnt/disk/visiongate")
    if path.resolve().is_relative_to(repository.resolve()):
        raise AddressError(f"{folder}: lies in the repository; choose a folder outside")
    if not path.parent.is_dir() or (path.exists() and not path.is_dir()):
        raise AddressError(f"{folder}: is not a folder, or its parent is missing; create or mount it first")
    return Remote(FOLDER_REMOTE, str(path.resolve()), VERIFY)


def _endpoint_option(endpoint: str) -> dict[str, str]:
    if not endpoint:
        return {}
    example = "https://minio.example.org:9000"
    parts = _split_address(endpoint, example)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise AddressError(f"{endpoint}: is not the address of an S3 server; give one such as {example}")
    return {"endpointurl": endpoint.rstrip("/")}


def _split_address(address: str, example: str) -> SplitResult:
    """Split an address; refuse one with a password, without repeating it."""
    user = address.partition("://")[2].rpartition("@")[0]
    if ":" in user or "?" in address:
        raise AddressError(
            "the address contains a password, which git would store; set AWS_PROFILE or AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or use `dvc remote modify --local`"
        )
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        parts = SplitResult("", "", "", "", "")
    if not parts.netloc or not address.isprintable() or " " in address:
        raise AddressError(f"{address!r}: is not an address; give one such as {example}")
    return parts
