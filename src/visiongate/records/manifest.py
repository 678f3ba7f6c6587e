"""``manifest.parquet``: the image behind each row of the pixel arrays."""

import io
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from visiongate.errors import DataError
from visiongate.records.files import atomic_path

MANIFEST_FILE = "manifest.parquet"
# `row` counts within the split, `label` is the class's number, `width` and `height` are those of the stored image.
# `fold` counts from 0, and is null without cross-validation.
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
    }
)


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
    if not path.exists():
        raise DataError(f"{path}: no such file; run `dvc repro` or `dvc pull`")
    try:
        filters = None if split is None else [("split", "=", split)]
        return pq.read_table(path, columns=None if columns is None else list(columns), filters=filters)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(str(path), error) from None


def parse_manifest(content: bytes, columns: Sequence[str], source: str = MANIFEST_FILE) -> pa.Table:
    """Parse the content of a ``manifest.parquet``, such as that of another revision.

    Raises:
        DataError: The content is not Parquet, or lacks one of the columns.
    """
    try:
        table = pq.read_table(io.BytesIO(content))
    except (pa.ArrowException, OSError) as error:
        raise _damaged(source, error) from None
    missing = [name for name in columns if name not in table.column_names]
    if missing:
        raise DataError(f"{source}: column {missing[0]!r} is missing; run `dvc repro`")
    return table.select(list(columns))


def _damaged(source: str, error: Exception) -> DataError:
    return DataError(f"{source}: damaged: {str(error).splitlines()[0]}; run `dvc checkout` or `dvc repro`")
