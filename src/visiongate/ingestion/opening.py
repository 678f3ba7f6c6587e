"""Open the source of images that the settings describe."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from visiongate.errors import DataError
from visiongate.ingestion.download import without_credentials
from visiongate.ingestion.embedded import EMBEDDED, SCHEME
from visiongate.ingestion.fetching import DownloadOptions, fetch, file_name
from visiongate.ingestion.layouts import find_images
from visiongate.ingestion.source import Source
from visiongate.ingestion.trees import list_files, open_tree
from visiongate.records.files import sha256_of
from visiongate.settings.dataset import Dataset


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


@contextmanager
def open_source(dataset: Dataset, downloads: DownloadOptions) -> Iterator[OpenedSource]:
    """Open the archive or folder at ``dataset.path``, or the data set at ``dataset.url``.

    Raises:
        DataError: The data set is missing, cannot be downloaded or cannot be read as labeled images.
    """
    path = Path(dataset.path)
    if path != Path(f"conf/dataset/{dataset.name}.yaml"):
        if not path.exists():
            raise DataError(f"dataset.path = {dataset.path!r}: no such folder or archive; correct the path")
        with open_tree(path, dataset.limits, dataset.exclude) as tree:
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
        with open_tree(path, dataset.limits, dataset.exclude) as tree:
            yield OpenedSource(find_images(tree, dataset), address, _hash(path))
    else:
        tree = list_files(file_name(url) or dataset.name, files, dataset.limits, dataset.exclude)
        yield OpenedSource(find_images(tree, dataset), address, None)


def _hash(path: Path) -> str | None:
    return None if path.is_dir() else sha256_of(path)
