"""Parquet files that hold one table."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from visiongate.errors import DataError

_MAX_REASON = 120


def parse_parquet(content: bytes, source: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Parse the content of a Parquet file.

    Args:
        content: The file's bytes.
        source: The file's name, for the error message.
        columns: The columns to read; by default all.

    Raises:
        DataError: The content is not Parquet, or a column is missing.
    """
    try:
        # Not `pq.read_table`, which imports the data sets of several files for a tenth of a second.
        file = pq.ParquetFile(pa.BufferReader(content))
        missing = [name for name in columns or () if name not in file.schema_arrow.names]
        if missing:
            raise DataError(f"{source}: column {missing[0]!r} is missing; run `dvc repro`")
        return file.read() if columns is None else file.read(list(columns)).select(list(columns))
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0][:_MAX_REASON]
        raise DataError(f"{source}: damaged: {reason}; run `dvc checkout --force` or `dvc repro`") from None
