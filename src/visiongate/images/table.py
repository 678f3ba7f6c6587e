"""The image table: Parquet shards with one row an image, encoded bytes as they came, and ``dataset.json`` beside them.

A few shards rather than a file an image: remotes answer per file, and 25,000 small files push and pull some eighty times
slower than the same bytes in eight shards.

Rows are in the order of their paths, and the images themselves say where a shard ends (content-defined chunking, as in LBFS,
Muthitacharoen, Chen and Mazières, SOSP 2001, over rows instead of bytes). So the table is a function of its images, not of its
history, and adding some changes the shards that they fall into and no other: what a remote holds already is not sent again.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from visiongate.errors import DataError
from visiongate.records.files import atomic_path

SHARDS = "images-*.parquet"
SCHEMA = pa.schema(
    [
        pa.field("image", pa.binary(), nullable=False),  # the encoded file, byte for byte
        pa.field("label", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),  # within the source, unique
        pa.field("split", pa.string()),  # train, val or test, when the source gives one
        pa.field("group", pa.string()),  # images that must stay together, a patient's say
        pa.field("sha256", pa.string(), nullable=False),  # of the bytes, in hexadecimal
    ]
)
# A shard has about so many rows or bytes, whichever is fewer; at least an eighth of that, and at most four times.
SHARD_ROWS = 256
SHARD_BYTES = 4_000_000
LEAST, MOST = 1 / 8, 4
FIRST_PATH = b"first_path"  # in a shard's metadata: what the shards are ordered by

Row = Mapping[str, Any]  # one value for each column of `SCHEMA`


def write_shards(directory: Path, rows: Iterable[Row]) -> int:
    """Write rows a shard at a time, so that memory holds one shard.

    Args:
        directory: Where the shards go; those that are there are removed.
        rows: Of `SCHEMA`, in the order of their paths.

    Returns:
        The number of rows written.

    Raises:
        ValueError: A path is not after the one before it.
    """
    remove_shards(directory)
    written = 0
    for shard in _cut(rows):
        write_shard(directory, pa.Table.from_pylist(shard, schema=SCHEMA))
        written += len(shard)
    return written


def remove_shards(directory: Path) -> None:
    """Remove the shards of an earlier run."""
    for stale in directory.glob(SHARDS):
        stale.unlink()


def write_shard(directory: Path, table: pa.Table) -> None:
    """Write one shard, named after its content, so that its name stays when others come before it.

    Args:
        directory: Where it goes.
        table: Rows of `SCHEMA`; at least one.
    """
    first = table.column("path")[0].as_py().encode()
    digest = hashlib.sha256()
    for column in ("path", "sha256"):
        digest.update("\0".join(table.column(column).to_pylist()).encode())
    with atomic_path(directory / f"images-{digest.hexdigest()[:16]}.parquet") as temporary:
        # Encoded images do not compress further; the dictionary pays for labels and the like only.
        pq.write_table(
            table.replace_schema_metadata({FIRST_PATH: first}),
            temporary,
            compression="zstd",
            use_dictionary=["label", "split", "group"],
        )


def read_table(directory: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read all shards in order.

    Args:
        directory: An image table's folder.
        columns: The columns wanted; without, all of `SCHEMA`.

    Raises:
        DataError: There is no shard, or one is damaged.
    """
    return pa.concat_tables(iterate_shards(directory, columns))


def iterate_shards(directory: Path, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """Yield the shards in order, with one in memory at a time.

    Args:
        directory: An image table's folder.
        columns: The columns wanted; without, all of `SCHEMA`.

    Raises:
        DataError: There is no shard, or one is damaged.
    """
    shards = sorted(directory.glob(SHARDS), key=_first_path)
    if not shards:
        raise DataError(f"{directory}: no {SHARDS}; `dvc repro` makes them, `dvc pull` fetches them")
    for shard in shards:
        try:
            table = pq.read_table(shard, columns=None if columns is None else list(columns))
        except (pa.ArrowException, OSError) as error:
            raise _damaged(shard, error) from None
        yield table.replace_schema_metadata()


def iterate_images(directory: Path) -> Iterator[bytes]:
    """Yield the encoded images in the table's order, with one shard in memory at a time.

    Raises:
        DataError: There is no shard, or one is damaged.
    """
    for table in iterate_shards(directory, ["image"]):
        for image in table.column("image"):
            yield image.as_py()


def content_hash(hashes: Iterable[str]) -> str:
    """Hash the rows' hexadecimal hashes in order: one name for the content of a whole table."""
    digest = hashlib.sha256()
    for sha256 in hashes:
        digest.update(sha256.encode("ascii"))
    return digest.hexdigest()


_REMEDY = "run `dvc checkout`, or the stage that makes it again"


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"{path}: damaged: {' '.join(str(error).split())}; {_REMEDY}")


def _first_path(shard: Path) -> bytes:
    try:
        metadata = pq.read_schema(shard).metadata or {}
    except (pa.ArrowException, OSError) as error:
        raise _damaged(shard, error) from None
    return bytes(metadata.get(FIRST_PATH, b""))


def _cut(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Cut rows into shards behind those rows that their own hash chooses, larger images the more likely."""
    shard: list[Row] = []
    fill, last = 0.0, ""
    for row in rows:
        path = row["path"]
        if path <= last:
            raise ValueError(f"{path!r} comes after {last!r}: rows must be in the order of their paths")
        share = max(1 / SHARD_ROWS, len(row["image"]) / SHARD_BYTES)
        if shard and fill + share > MOST:
            yield shard
            shard, fill = [], 0.0
        shard.append(row)
        fill, last = fill + share, path
        if fill >= LEAST and _draw(row) < share:
            yield shard
            shard, fill = [], 0.0
    if shard:
        yield shard


def _draw(row: Row) -> float:
    """Draw a number in [0, 1) from a row alone."""
    digest = hashlib.sha256(f"{row['path']}\0{row['sha256']}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48
