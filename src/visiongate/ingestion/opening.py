"""From the settings of a data set to its images, wherever they are."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from visiongate.errors import DataError
from visiongate.ingestion.embedded import EMBEDDED, SCHEME
from visiongate.ingestion.fetching import Place, fetch, file_name, without_credentials
from visiongate.ingestion.layouts import Source, find_images
from visiongate.ingestion.trees import list_files, open_tree
from visiongate.records.files import sha256_of
from visiongate.settings.schema import Dataset


@dataclass(frozen=True, slots=True)
class Opened:
    """A data set ready to be read."""

    source: Source
    address: str  # without credentials or a path of this machine
    sha256: str | None  # of the one file that it is read from; None where it is several, or none


@contextmanager
def open_source(dataset: Dataset, place: Place) -> Iterator[Opened]:
    """Open a data set: the archive or folder at ``dataset.path``, or what ``dataset.url`` leads to.

    Raises:
        DataError: It cannot be had, or cannot be read as images of its classes.
    """
    path = Path(dataset.path)
    if path != Path(f"conf/dataset/{dataset.name}.yaml"):
        if not path.exists():
            raise DataError(f"dataset.path = {dataset.path!r}: there is no such folder or archive")
        with open_tree(path, dataset.limits, dataset.exclude) as tree:
            yield Opened(find_images(tree, dataset), path.resolve().name, _hash(path))
    elif dataset.url is None:
        raise DataError(
            f"dataset.path: give the folder or archive that holds the images: "
            f"dvc exp run -S dataset={dataset.name} -S dataset.path=/path/to/images; or an address: -S dataset.url=…"
        )
    elif urlsplit(dataset.url).scheme == SCHEME:
        yield Opened(_open_embedded(dataset.url), dataset.url, None)
    else:
        with _open_fetched(dataset, dataset.url, place) as opened:
            yield opened


def _open_embedded(url: str) -> Source:
    name = urlsplit(url).netloc
    if name not in EMBEDDED:
        raise DataError(
            f"dataset.url = {url!r}: there are {', '.join(f'{SCHEME}://{known}' for known in EMBEDDED)}"
        )
    return EMBEDDED[name]()


@contextmanager
def _open_fetched(dataset: Dataset, url: str, place: Place) -> Iterator[Opened]:
    files = fetch(url, dataset.files, place)
    address = without_credentials(url)
    if len(files) == 1 and (dataset.files or not url.endswith("/")):
        (path,) = files.values()
        with open_tree(path, dataset.limits, dataset.exclude) as tree:
            yield Opened(find_images(tree, dataset), address, _hash(path))
    else:
        tree = list_files(file_name(url) or dataset.name, files, dataset.limits, dataset.exclude)
        yield Opened(find_images(tree, dataset), address, None)


def _hash(path: Path) -> str | None:
    return None if path.is_dir() else sha256_of(path)
