"""Open the source of images that the settings describe."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from visiongate.errors import DataError
from visiongate.ingestion.download import without_credentials
from visiongate.ingestion.embedded import EMBEDDED, SCHEME
from visiongate.ingestion.fetching import DownloadOptions, fetch, file_name
from visiongate.ingestion.folder_walk import walk_folder
from visiongate.ingestion.label_tables import is_label_table
from visiongate.ingestion.layouts import find_images
from visiongate.ingestion.source import Source
from visiongate.ingestion.trees import is_container, list_files, mount_archives, open_tree
from visiongate.records.files import sha256_of
from visiongate.settings.dataset import Dataset

# Names that a message shows.
MAX_SHOWN = 5


@dataclass(frozen=True, slots=True)
class OpenedSource:
    """A source, and where it comes from.

    Attributes:
        source: The images.
        address: URL without credentials, or the name of the local folder or archive.
        sha256: Hash of the archive; None if the source is not a single file.
    """

    source: Source
    address: str
    sha256: str | None


def check_path(path: Path) -> None:
    """Check that a folder or an archive can be read, before DVC hashes it.

    DVC reports a broken link or a socket by its number of error only, and waits forever for a pipe.

    Raises:
        DataError: There is no such file or folder, or something in it cannot be read.
    """
    if not path.exists():
        if path.parts[:1] == ("~",) and (home := path.expanduser()).exists():
            raise DataError(f"dataset.path = {str(path)!r}: DVC does not expand ~; write {str(home)!r}")
        parent = next(each for each in path.absolute().parents if each.exists())
        raise DataError(
            f"dataset.path = {str(path)!r}: no such folder or archive; choose the images with `visiongate use PATH`; "
            f"{parent} holds {_list_names(parent)}"
        )
    if path.is_dir():
        # DVC reads what the settings leave out, too, and follows links anywhere.
        walk_folder(path, ["/"], None, lambda _: None)
    elif not path.is_file() or not os.access(path, os.R_OK):
        raise DataError(f"dataset.path = {str(path)!r}: not a readable file or folder; check its permissions")


def _list_names(folder: Path) -> str:
    names = sorted(each.name for each in folder.iterdir() if not each.name.startswith("."))
    more = f" and {len(names) - MAX_SHOWN:,} more" if len(names) > MAX_SHOWN else ""
    return f"{', '.join(names[:MAX_SHOWN]) or 'nothing'}{more}"


@contextmanager
def open_source(dataset: Dataset, downloads: DownloadOptions) -> Iterator[OpenedSource]:
    """Open the archive or folder at ``dataset.path``, or the data set at ``dataset.url``.

    Raises:
        DataError: The data set is missing, cannot be downloaded or cannot be read as labeled images.
    """
    path = Path(dataset.path)
    if path != Path(f"conf/dataset/{dataset.name}.yaml"):
        check_path(path)
        if path.is_file() and is_label_table(path.name) and not is_container(path):
            raise DataError(
                f"dataset.path = {str(path)!r}: a table without the images; set it to the folder that holds both, such as "
                f"{str(path.parent)!r}"
            )
        with open_tree(path, dataset) as tree:
            yield OpenedSource(find_images(tree, dataset), path.resolve().name, _hash(path))
    elif dataset.url is None:
        raise DataError(
            "dataset.path is not set; choose your images: visiongate use /path/to/images, or an address: visiongate use URL"
        )
    elif urlsplit(dataset.url).scheme == SCHEME:
        yield OpenedSource(_open_embedded(dataset.url), dataset.url, None)
    else:
        with _open_fetched(dataset, dataset.url, downloads) as opened:
            yield opened


def _open_embedded(url: str) -> Source:
    name = urlsplit(url).netloc
    if name not in EMBEDDED:
        known = ", ".join(f"{SCHEME}://{name}" for name in EMBEDDED)
        raise DataError(f"dataset.url = {url!r} is unknown; choose one of {known}")
    return EMBEDDED[name]()


@contextmanager
def _open_fetched(dataset: Dataset, url: str, downloads: DownloadOptions) -> Iterator[OpenedSource]:
    files = fetch(url, dataset.files, downloads)
    address = without_credentials(url)
    if len(files) == 1 and (dataset.files or not url.endswith("/")):
        (path,) = files.values()
        with open_tree(path, dataset) as tree:
            yield OpenedSource(find_images(tree, dataset), address, _hash(path))
    else:
        listed = list_files(file_name(url) or dataset.name, files, dataset)
        with mount_archives(listed, dataset) as tree:
            yield OpenedSource(find_images(tree, dataset), address, None)


def _hash(path: Path) -> str | None:
    return None if path.is_dir() else sha256_of(path)
