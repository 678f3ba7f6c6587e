"""``manifest.parquet``: the image behind each row of the pixel arrays."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from visiongate.records.files import atomic_path, read_output
from visiongate.records.parquet import parse_parquet

MANIFEST_FILE = "manifest.parquet"
# `row` counts within the split, `label` is the class's number. The last five describe the image as it is stored, which
# `STORED_COLUMNS` names; format and mode are Pillow's names.
# `fold` counts from 0, and is null without cross-validation, and for images that only train.
MANIFEST_SCHEMA = pa.schema(
    {
        "split": pa.string(),
        "row": pa.int64(),
        "label": pa.int64(),
        "path": pa.string(),
        "sha256": pa.string(),
        "group": pa.string(),
        "fold": pa.int32(),
        "width": pa.int32(),
        "height": pa.int32(),
        "format": pa.string(),
        "mode": pa.string(),
        "bytes": pa.int64(),
    }
)
STORED_COLUMNS = ("width", "height", "format", "mode", "bytes")


def write_manifest(directory: Path, manifest: pa.Table) -> None:
    """Write ``manifest.parquet`` beside the pixel arrays.

    Args:
        directory: The folder of the pixel arrays.
        manifest: Columns as in `MANIFEST_SCHEMA`.
    """
    with atomic_path(directory / MANIFEST_FILE) as temporary:
        pq.write_table(manifest.cast(MANIFEST_SCHEMA), temporary, compression="zstd")


def read_manifest(
    directory: Path, split: str | None = None, columns: Sequence[str] | None = None
) -> pa.Table:
    """Read ``manifest.parquet``, in the order of the pixel arrays.

    Args:
        directory: The folder of the pixel arrays.
        split: The split to read; by default all.
        columns: The columns to read; by default all.

    Raises:
        DataError: The file is missing, damaged or lacks a column.
    """
    path = directory / MANIFEST_FILE
    if split is None:
        return parse_parquet(read_output(path), str(path), columns)
    needed = None if columns is None else [*{"split", *columns}]
    manifest = parse_parquet(read_output(path), str(path), needed)
    rows = manifest.filter(pc.equal(manifest.column("split"), split))
    return rows if columns is None else rows.select(list(columns))


def parse_manifest(content: bytes, columns: Sequence[str], source: str = MANIFEST_FILE) -> pa.Table:
    """Parse the content of a ``manifest.parquet``, such as that of another revision.

    Raises:
        DataError: The content is not Parquet, or lacks one of the columns.
    """
    return parse_parquet(content, source, columns)
