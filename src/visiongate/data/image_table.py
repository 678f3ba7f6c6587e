"""The image table: Parquet shards with one row an image, encoded bytes as they came, and ``dataset.json`` beside them.

A few shards rather than a file an image: remotes answer per file, and 25,000 small files push and pull some eighty times
slower than the same bytes in eight shards.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from visiongate.errors import DataError
from visiongate.files import atomic_path, read_json, write_json

ROWS_PER_SHARD = 4096
SHARDS = "images-*.parquet"
SCHEMA = pa.schema(
    [
        pa.field("image", pa.binary(), nullable=False),  # the encoded file, byte for byte
        pa.field("label", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),  # within the source
        pa.field("split", pa.string()),  # train, val or test, when the source gives one
        pa.field("group", pa.string()),  # images that must stay together, a patient's say
        pa.field("sha256", pa.string(), nullable=False),  # of the bytes, in hexadecimal
    ]
)


@dataclass(frozen=True, slots=True)
class Dataset:
    """What is known of a data set as a whole; the content of ``dataset.json``."""

    name: str
    classes: list[str]  # in the order of the model's outputs
    images: int
    licence: str
    citation: str
    homepage: str
    source_sha256: str  # of the bytes the source handed over
    content_sha256: str  # of the rows' hashes, in order


def write_dataset(directory: Path, dataset: Dataset) -> None:
    """Write ``dataset.json``."""
    write_json(directory / "dataset.json", asdict(dataset))


def read_dataset(directory: Path) -> Dataset:
    """Read ``dataset.json``.

    Raises:
        DataError: There is none.
    """
    path = directory / "dataset.json"
    if not path.exists():
        raise DataError(f"{path}: no such file; `dvc repro` makes it, `dvc pull` fetches it")
    return Dataset(**read_json(path))


def write_shards(
    directory: Path, rows: Iterable[dict[str, Any]], rows_per_shard: int = ROWS_PER_SHARD
) -> int:
    """Write rows of `SCHEMA` in order, a shard at a time, so that memory holds one shard.

    Returns:
        The number of rows written.
    """
    for stale in directory.glob(SHARDS):
        stale.unlink()
    iterator, written, shard = iter(rows), 0, 0
    while chunk := list(islice(iterator, rows_per_shard)):
        with atomic_path(directory / f"images-{shard:05d}.parquet") as temporary:
            # Encoded images do not compress further; the dictionary pays for labels and the like only.
            pq.write_table(
                pa.Table.from_pylist(chunk, schema=SCHEMA),
                temporary,
                compression="zstd",
                use_dictionary=["label", "split", "group"],
            )
        written, shard = written + len(chunk), shard + 1
    return written


def read_table(directory: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read the shards in order.

    Args:
        directory: An image table's folder.
        columns: The columns wanted; without, all of `SCHEMA`.

    Raises:
        DataError: There is no shard.
    """
    return pa.concat_tables([pq.read_table(shard, columns=columns) for shard in _shards(directory)])


def iterate_images(directory: Path) -> Iterator[bytes]:
    """Yield the encoded images in the table's order, with one shard in memory at a time.

    Raises:
        DataError: There is no shard.
    """
    for shard in _shards(directory):
        for image in pq.read_table(shard, columns=["image"]).column("image"):
            yield image.as_py()


def _shards(directory: Path) -> list[Path]:
    shards = sorted(directory.glob(SHARDS))
    if not shards:
        raise DataError(f"{directory}: no {SHARDS}; `dvc repro` makes them, `dvc pull` fetches them")
    return shards


def content_hash(hashes: Iterable[str]) -> str:
    """Hash the rows' hexadecimal hashes in order: one name for the content of a whole table."""
    return hashlib.sha256("".join(hashes).encode("ascii")).hexdigest()
