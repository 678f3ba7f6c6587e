"""Where a remote may lie: what a person gives is checked before anything is written, for it goes to git or is relied upon."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from visiongate.errors import VisiongateError

TEAM, OWN = "shared", "folder"  # the names of a remote for everybody and of one for this machine
SCHEMES = ("s3", "gs", "azure", "ssh", "webdav", "webdavs", "oss", "gdrive")
PLAIN = re.compile(r"[\w.~:/@%+=,-]+", re.ASCII)
BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
VERIFIED = {
    "verify": "true"
}  # else an object that was damaged in the remote is put into the cache as if whole
# Seconds. By default a host that answers nothing is waited for over half an hour, counting the client's repetitions.
TIMEOUTS = {"connect_timeout": "5", "read_timeout": "30"}


class AddressError(VisiongateError):
    """An address that cannot be a remote's, or must not be."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A DVC remote as it is to be."""

    name: str
    url: str
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def own(self) -> bool:
        """Whether it means something on this machine alone, so that git must not see it."""
        return self.name == OWN


def team_remote(url: str, endpoint: str = "") -> Remote:
    """Describe a remote that everybody reaches by the same address.

    Args:
        url: Such as ``s3://bucket/path``.
        endpoint: Of an S3 server that is not Amazon's, such as ``https://minio.example.org:9000``; empty if it is.

    Raises:
        AddressError: One of them is not usable, or holds a password.
    """
    parts = _split("URL", url, "s3://bucket/path")
    if parts.scheme not in SCHEMES:
        raise AddressError(
            f"URL={_hide(url)}: must begin with one of {', '.join(f'{name}://' for name in SCHEMES)}"
        )
    if not parts.hostname or parts.netloc.startswith("-") or ".." in parts.path.split("/"):
        raise AddressError(
            f"URL={_hide(url)}: names no bucket or host, and a path in it, as s3://bucket/path does"
        )
    if parts.scheme != "s3":
        if endpoint:
            raise AddressError(f"ENDPOINT={_hide(endpoint)}: goes with s3:// alone")
        return Remote(TEAM, url.rstrip("/"), VERIFIED)
    if parts.username is not None:
        raise AddressError(
            f"URL={_hide(url)}: s3:// takes a bucket and a path, no user; AWS_PROFILE names one"
        )
    if not BUCKET.fullmatch(parts.netloc):
        raise AddressError(f"URL={_hide(url)}: names no bucket, as s3://bucket/path does")
    options = {**VERIFIED, **TIMEOUTS, **({"endpointurl": _check_endpoint(endpoint)} if endpoint else {})}
    return Remote(TEAM, url.rstrip("/"), options)


def own_remote(folder: str, repository: Path) -> Remote:
    """Describe a remote in a folder of this machine, such as a mounted disk.

    Raises:
        AddressError: It is not absolute, lies in the repository, or cannot be made.
    """
    if not folder.strip() or not folder.isprintable():
        raise AddressError("DIR: must name a folder, as in make remote-local DIR=/mnt/disk/visiongate")
    try:
        path = Path(folder).expanduser()
        path.exists()
    except (RuntimeError, OSError):  # no such user; a name that is too long
        raise AddressError(f"DIR={folder[:80]}: no folder can have this name") from None
    if not path.is_absolute():
        raise AddressError(f"DIR={folder}: must be an absolute path, as in DIR=/mnt/disk/visiongate")
    if path.resolve().is_relative_to(repository.resolve()):
        raise AddressError(f"DIR={folder}: lies in the repository; choose a folder outside")
    if path.exists() and not path.is_dir():
        raise AddressError(f"DIR={folder}: is a file; choose a folder")
    if not path.parent.is_dir():
        raise AddressError(f"DIR={folder}: {path.parent} does not exist; make it, or mount it, first")
    return Remote(OWN, str(path.resolve()), VERIFIED)


def _split(name: str, text: str, example: str) -> SplitResult:
    """Take an address apart that is a plain word without a password."""
    if not text:
        raise AddressError(f"{name}: must be given, as in {name}={example}")
    shown = _hide(text)
    if not PLAIN.fullmatch(text):
        raise AddressError(
            f"{name}={shown}: may hold letters, digits and . _ ~ : / @ % + = , - and nothing else"
        )
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise AddressError(f"{name}={shown}: is no address such as {example}") from None
    if parts.password is not None or "@" in parts.path:  # a key's secret may have a slash
        raise AddressError(
            f"{name}={shown}: holds a password, which git would see; give it by AWS's usual means, or by "
            "dvc remote modify --local"
        )
    if not parts.scheme or "://" not in text:
        raise AddressError(
            f"{name}={shown}: is no address such as {example}; for a folder: make remote-local DIR=..."
        )
    return parts


def _check_endpoint(endpoint: str) -> str:
    example = "https://minio.example.org:9000"
    parts = _split("ENDPOINT", endpoint, example)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username is not None:
        raise AddressError(f"ENDPOINT={_hide(endpoint)}: must be an http or https address, as in {example}")
    return endpoint.rstrip("/")


def _hide(text: str) -> str:
    """Return an address on one line without what may be a secret in it: what is before the last @, and a query."""
    head, mark, rest = text.partition("?")[0].rpartition("@")
    scheme, slashes, _ = head.partition("://")
    hidden = f"{scheme}{slashes}***@{rest}" if slashes else f"***@{rest}" if mark else rest
    return " ".join((hidden + "?***" * ("?" in text)).split())
