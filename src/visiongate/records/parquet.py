"""Parquet files that hold one table."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from visiongate.errors import DataError

_MAX_REASON = 120


def parse_parquet(
    content: bytes,
    source: str,
    columns: Sequence[str] | None = None,
    filters: Sequence[tuple[str, str, str]] | None = None,
) -> pa.Table:
    """Parse the content of a Parquet file.

    Args:
        content: The file's bytes.
        source: The file's name, for the error message.
        columns: The columns to read; by default all.
        filters: Conditions on the rows, as `pyarrow.parquet.read_table` takes them.

    Raises:
        DataError: The content is not Parquet, or a column is missing.
    """
    try:
        known = pq.read_schema(pa.BufferReader(content)).names
        missing = [name for name in columns or () if name not in known]
        if missing:
            raise DataError(f"{source}: column {missing[0]!r} is missing; run `dvc repro`")
        return pq.read_table(pa.BufferReader(content), columns=columns and list(columns), filters=filters)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0][:_MAX_REASON]
        raise DataError(f"{source}: damaged: {reason}; run `dvc checkout --force` or `dvc repro`") from None
