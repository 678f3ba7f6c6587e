"""Fetch a data set's files: from a URL, a folder or bucket, Kaggle, or a mirror."""

import glob
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from visiongate.errors import DataError
from visiongate.ingestion.download import (
    check_file,
    download_file,
    open_file_system,
    with_retries,
    without_credentials,
)
from visiongate.ingestion.kaggle_download import SCHEME as KAGGLE
from visiongate.ingestion.kaggle_download import download_from_kaggle
from visiongate.settings.dataset import PublishedFile

logger = logging.getLogger(__name__)
# Files of a folder that are downloaded at the same time. With small files, most of the time is spent waiting.
WORKERS = 16


@dataclass(frozen=True, slots=True)
class DownloadOptions:
    """Where downloads go, and where they may come from.

    Attributes:
        folder: The data set's folder for downloads.
        mirror: A directory or a URL that replaces every host; None for no mirror.
        max_bytes: Largest allowed size of a file.
    """

    folder: Path
    mirror: str | None
    max_bytes: int


def fetch(url: str, files: Mapping[str, PublishedFile], options: DownloadOptions) -> dict[str, Path]:
    """Download files, unless they are already up to date.

    Args:
        url: The URL of a file; of a folder, if it ends with a slash or ``files`` are given; or ``kaggle://OWNER/DATASET``.
        files: The files to fetch below the URL, with their expected size and checksum; if empty, all files.
        options: Where to put the files.

    Returns:
        The local files by name, or by path below the URL.

    Raises:
        DataError: A file cannot be downloaded, or has another size or checksum than expected.
    """
    if options.mirror is not None:
        names = files or [_require_name(url)]
        return {name: _fetch_from_mirror(options.mirror, name, files.get(name), options) for name in names}
    if urlsplit(url).scheme == KAGGLE:
        return {file_name(url): download_from_kaggle(url, options.folder / file_name(url))}
    if files:
        base = url.rstrip("/")
        return {name: _fetch_file(f"{base}/{name}", name, known, options) for name, known in files.items()}
    if url.endswith("/") or is_folder(url):
        return _fetch_folder(f"{url.rstrip('/')}/", options)
    return {_require_name(url): _fetch_file(url, _require_name(url), None, options)}


def file_name(url: str) -> str:
    """Return the name of the file that a URL leads to. A data set of Kaggle is one zip."""
    name = PurePosixPath(unquote(urlsplit(url).path)).name
    return f"{name}.zip" if urlsplit(url).scheme == KAGGLE else name


def _require_name(url: str) -> str:
    name = file_name(url)
    if not name:
        raise DataError(f"{without_credentials(url)}: names no file; add a slash for a folder")
    return name


def _fetch_file(url: str, name: str, expected: PublishedFile | None, options: DownloadOptions) -> Path:
    return download_file(url, options.folder / name, expected, options.max_bytes)


def _fetch_from_mirror(
    mirror: str, name: str, expected: PublishedFile | None, options: DownloadOptions
) -> Path:
    """Find a file in a directory or below it, or download it from a URL."""
    if "://" in mirror:
        return _fetch_file(f"{mirror.rstrip('/')}/{name}", name, expected, options)
    matches = sorted(path for path in Path(mirror).rglob(glob.escape(name)) if path.is_file())
    if not matches:
        raise DataError(f"{name}: not found in or below VISIONGATE_MIRROR={mirror}; copy it there")
    check_file(matches[0], name, expected)
    return matches[0]


def is_folder(url: str) -> bool:
    """Return whether a URL without a slash at its end leads to a folder; a web address never does."""
    if urlsplit(url).scheme in ("http", "https"):
        return False

    def is_directory() -> bool:
        system, path = open_file_system(url)
        return bool(system.isdir(path))

    return with_retries(url, is_directory)


def _fetch_folder(url: str, options: DownloadOptions) -> dict[str, Path]:
    urls = with_retries(url, partial(list_folder, url))
    if not urls:
        raise DataError(f"{without_credentials(url)}: no files found; check the address")
    for name in urls:
        if {"", ".", ".."} & set(name.split("/")) or "\\" in name or "\0" in name:
            raise DataError(f"{without_credentials(url)}: {name!r}: a path that could lead out of the folder")
    _remove_others(options.folder, urls)
    logger.info("downloading %d files from %s", len(urls), without_credentials(url))

    def download(name: str) -> Path:
        target = options.folder / name
        return download_file(urls[name], target, None, options.max_bytes, show_progress=False)

    with ThreadPoolExecutor(WORKERS) as pool:
        return dict(zip(urls, pool.map(download, urls), strict=True))


def list_folder(url: str) -> dict[str, str]:
    """Return the URL of each file below a folder, by its relative path."""
    system, root = open_file_system(url)
    root = root.rstrip("/") + "/"
    paths = [str(path) for path in system.find(root)]
    is_http = "http" in system.protocol
    if is_http:
        # Links that sort the listing, or lead to a part of a page.
        paths = [path for path in paths if "?" not in path and "#" not in path]
    # Consoles of buckets create empty objects whose names end with a slash to show folders.
    below = [path for path in paths if path.startswith(root) and not path.endswith("/")]
    return {
        (unquote(path) if is_http else path)[
            len(unquote(root) if is_http else root) :
        ]: system.unstrip_protocol(path)
        for path in below
    }


def _remove_others(folder: Path, names: Mapping[str, str]) -> None:
    """Remove downloads that the remote folder no longer holds."""
    for path in folder.rglob("[!.]*"):
        if path.is_file() and path.relative_to(folder).as_posix() not in names:
            path.unlink()
