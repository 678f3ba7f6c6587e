"""The image table: Parquet shards with one row per image, which holds the encoded file unchanged.

A remote needs about the same time for each file, whatever its size. 25,000 small files take about eighty times as long to push
as the same bytes in eight shards.

Rows are sorted by path, and the rows themselves determine where a shard ends. This is content-defined chunking as in LBFS
(Muthitacharoen, Chen and Mazières, SOSP 2001), applied to rows instead of bytes. Therefore the table depends on its images
alone, and new images change only the shards that they fall into. A remote receives only these.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from visiongate.errors import DataError
from visiongate.records.files import atomic_path

SHARDS = "images-*.parquet"
# `image` is the encoded file, `path` its unique path in the source, `split` the split that the source gives, `group` the name
# of images that must stay in one split, and `sha256` the hash of the file.
SCHEMA = pa.schema(
    [
        pa.field("image", pa.binary(), nullable=False),
        pa.field("label", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("split", pa.string()),
        pa.field("group", pa.string()),
        pa.field("sha256", pa.string(), nullable=False),
    ]
)
# The target size of a shard: as many rows or bytes, whichever is reached first.
SHARD_ROWS = 256
SHARD_BYTES = 4_000_000
# Bounds on the size of a shard, relative to the target.
MIN_FILL, MAX_FILL = 1 / 8, 4
# Key in a shard's metadata. Shards are ordered by their first path.
FIRST_PATH = b"first_path"

# A value for each column of `SCHEMA`.
Row = Mapping[str, Any]


class Shard(NamedTuple):
    """A file of an image table, and its number of rows."""

    path: Path
    rows: int


def write_shards(directory: Path, rows: Iterable[Row]) -> int:
    """Write rows in shards, with one shard in memory.

    Args:
        directory: The table's folder. Existing shards are removed.
        rows: Rows of `SCHEMA`, sorted by path.

    Returns:
        The number of rows.

    Raises:
        ValueError: The rows are not sorted, or a path occurs twice.
    """
    remove_shards(directory)
    written = 0
    for shard in _split_rows(rows):
        write_shard(directory, pa.Table.from_pylist(shard, schema=SCHEMA))
        written += len(shard)
    return written


def remove_shards(directory: Path) -> None:
    """Remove all shards."""
    for stale in directory.glob(SHARDS):
        stale.unlink()


def write_shard(directory: Path, table: pa.Table) -> None:
    """Write a shard, named by its content, so that its name does not change when other shards are added.

    Args:
        directory: The table's folder.
        table: At least one row of `SCHEMA`.
    """
    first = table.column("path")[0].as_py().encode()
    digest = hashlib.sha256()
    for column in ("path", "sha256"):
        digest.update("\0".join(table.column(column).to_pylist()).encode())
    with atomic_path(directory / f"images-{digest.hexdigest()[:16]}.parquet") as temporary:
        # A dictionary saves space only in columns with few distinct values.
        pq.write_table(
            table.replace_schema_metadata({FIRST_PATH: first}),
            temporary,
            compression="zstd",
            use_dictionary=["label", "split", "group"],
        )


def read_table(directory: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read all shards.

    Args:
        directory: The table's folder.
        columns: The columns to read; by default all.

    Raises:
        DataError: There is no shard, or one is damaged.
    """
    return pa.concat_tables(iterate_shards(directory, columns))


def iterate_shards(directory: Path, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """Yield the shards in order, with one in memory.

    Args:
        directory: The table's folder.
        columns: The columns to read; by default all.

    Raises:
        DataError: There is no shard, or one is damaged.
    """
    return (read_shard(shard.path, columns) for shard in list_shards(directory))


def list_shards(directory: Path) -> list[Shard]:
    """Return the shards in the table's order.

    Raises:
        DataError: There is no shard, or one is damaged.
    """
    found = sorted(map(_read_footer, directory.glob(SHARDS)))
    if not found:
        raise DataError(f"{directory}: no {SHARDS}; run `dvc repro` or `dvc pull`")
    return [shard for _, shard in found]


def read_shard(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a shard.

    Raises:
        DataError: It is missing or damaged.
    """
    try:
        table = pq.read_table(path, columns=None if columns is None else list(columns))
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from None
    return table.replace_schema_metadata()


def iterate_images(directory: Path) -> Iterator[bytes]:
    """Yield the encoded images in the table's order, with one shard in memory.

    Raises:
        DataError: There is no shard, or one is damaged.
    """
    for table in iterate_shards(directory, ["image"]):
        for image in table.column("image"):
            yield image.as_py()


def content_hash(hashes: Iterable[str]) -> str:
    """Return the hash of a table's content: the SHA-256 of the rows' hexadecimal hashes, in order."""
    digest = hashlib.sha256()
    for sha256 in hashes:
        digest.update(sha256.encode("ascii"))
    return digest.hexdigest()


def _damaged(path: Path, error: Exception) -> DataError:
    message = " ".join(str(error).split())
    return DataError(
        f"{path}: damaged: {message}; run `dvc checkout --force`, or `dvc repro` for the stage that writes it"
    )


def _read_footer(path: Path) -> tuple[bytes, Shard]:
    """Return a shard's first path, and the shard."""
    try:
        footer = pq.read_metadata(path)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from None
    return bytes((footer.metadata or {}).get(FIRST_PATH, b"")), Shard(path, footer.num_rows)


def _split_rows(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Split rows into shards. A row's own hash decides whether a shard ends after it, more often for a larger image."""
    shard: list[Row] = []
    fill, last = 0.0, ""
    for row in rows:
        path = row["path"]
        if path <= last:
            raise ValueError(f"{path!r} follows {last!r}: rows must be sorted by path")
        share = max(1 / SHARD_ROWS, len(row["image"]) / SHARD_BYTES)
        if shard and fill + share > MAX_FILL:
            yield shard
            shard, fill = [], 0.0
        shard.append(row)
        fill, last = fill + share, path
        if fill >= MIN_FILL and _hash_row(row) < share:
            yield shard
            shard, fill = [], 0.0
    if shard:
        yield shard


def _hash_row(row: Row) -> float:
    """Map a row's path and content to a uniformly distributed number in [0, 1)."""
    digest = hashlib.sha256(f"{row['path']}\0{row['sha256']}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48
