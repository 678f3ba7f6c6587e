"""Open Parquet files that anybody may have written: limits, and errors that name the file."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from visiongate.errors import DataError
from visiongate.ingestion.limits import check_limit, check_ratio
from visiongate.ingestion.trees import Tree
from visiongate.settings.dataset import Dataset

# Bytes that are read at once of a column, instead of all of a row group.
BUFFER = 2**20


@contextmanager
def open_parquet(tree: Tree, path: str, dataset: Dataset) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file, whose size may exceed the memory.

    Raises:
        DataError: The file is damaged or exceeds a limit.
    """
    source = f"{tree.name}: {path}"
    with tree.open(path) as stream, _explain_damage(source):
        file = pq.ParquetFile(stream, buffer_size=BUFFER, pre_buffer=False)
        groups = [file.metadata.row_group(index) for index in range(file.num_row_groups)]
        plain = sum(group.total_byte_size for group in groups)
        check_ratio(source, plain, max(stream.seek(0, 2), 1), dataset.limits)
        check_limit(source, "max_total_bytes", plain, "bytes in total", dataset.limits)
        check_limit(source, "max_files", file.metadata.num_rows, "rows", dataset.limits)
        yield file


def iterate_batches(
    tree: Tree, path: str, dataset: Dataset, columns: Sequence[str], rows: int
) -> Iterator[pa.RecordBatch]:
    """Yield some columns of a file, with a few rows at a time in memory.

    Raises:
        DataError: The file is damaged or exceeds a limit.
    """
    with open_parquet(tree, path, dataset) as file:
        yield from file.iter_batches(rows, columns=list(columns))


def read_cells(source: str, batch: pa.RecordBatch, column: str | None) -> list[Any]:
    """Return the cells of a column; None for each row if the batch does not have it.

    Args:
        source: The name of the file, for the message.
        batch: Rows of the file.
        column: The column.

    Raises:
        DataError: A text is not UTF-8.
    """
    if column not in batch.schema.names:
        return [None] * batch.num_rows
    with _explain_damage(source):
        cells: list[Any] = batch.column(column).to_pylist()
    return cells


@contextmanager
def _explain_damage(source: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = " ".join(str(error).split())
        raise DataError(f"{source}: damaged: {reason}; download or create the file again") from None
