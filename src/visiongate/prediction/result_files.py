"""Files of results: CSV, JSON lines or Parquet, and embeddings; each is written a part at a time."""

import csv
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from visiongate.errors import DataError
from visiongate.models.predictor import EMBEDDING
from visiongate.prediction.file_predictor import PATH
from visiongate.records.files import atomic_path

# Writes tables of the same columns to an open file of text.
TextWriter = Callable[[IO[str], Iterable[pa.Table]], None]
# Of a row group in Parquet.
GROUP_ROWS = 4096


def check_results_path(path: Path) -> None:
    """Check that a format belongs to a file's suffix.

    Raises:
        DataError: None does, or the path is a folder.
    """
    _check_suffix(path, RESULT_SUFFIXES)


def check_embeddings_path(path: Path) -> None:
    """Check that a format of embeddings belongs to a file's suffix.

    Raises:
        DataError: None does, or the path is a folder.
    """
    _check_suffix(path, EMBEDDING_SUFFIXES)


def require_writable(path: Path) -> None:
    """Check that the folder of a file can be written, before hours of work; it is made if it is missing.

    Raises:
        DataError: It cannot be.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent, prefix=f".{path.name}."):
            pass
    except OSError as error:
        raise DataError(
            f"{path}: its folder cannot be written: {error.strerror}; choose another file, or allow writing there"
        ) from None


def write_results(path: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> None:
    """Write results without embeddings, in the format of the suffix.

    Args:
        path: The file.
        schema: The columns.
        tables: The results, in order.
    """
    kept = pa.schema([field for field in schema if field.name != EMBEDDING])
    selected = (table.select(kept.names) for table in tables)
    with atomic_path(path) as temporary:
        if path.suffix.lower() == ".parquet":
            _write_parquet(temporary, kept, selected)
        else:
            with temporary.open("w", encoding="utf-8", newline="") as file:
                TEXT_WRITERS[path.suffix.lower()[1:]](file, _with_header(kept, selected))


def write_embeddings(path: Path, shape: tuple[int, int], tables: Iterable[pa.Table]) -> None:
    """Write the embeddings of the results: ``.npy`` is float32, N×D, with NaN for files that could not be read.

    Args:
        path: The file; ``.parquet`` has the paths, too.
        shape: The number of results and the length of an embedding, N×D.
        tables: The results, in order.
    """
    with atomic_path(path) as temporary:
        if path.suffix.lower() == ".parquet":
            schema = pa.schema({PATH: pa.string(), EMBEDDING: pa.list_(pa.float32())})
            _write_parquet(temporary, schema, (table.select(schema.names) for table in tables))
            return
        array = np.lib.format.open_memmap(temporary, "w+", np.float32, shape)
        start = 0
        for table in tables:
            array[start : start + table.num_rows] = _to_rows(table[EMBEDDING].combine_chunks(), shape[1])
            start += table.num_rows
        array.flush()


def write_csv_rows(file: IO[str], tables: Iterable[pa.Table]) -> None:
    """Write a header and a row for each result; floats in their shortest exact form, null as an empty cell."""
    writer = csv.writer(file, lineterminator="\n")
    for number, table in enumerate(tables):
        if number == 0:
            writer.writerow(table.column_names)
        writer.writerows(zip(*(_texts(column) for column in table.columns), strict=True))


def write_json_lines(file: IO[str], tables: Iterable[pa.Table]) -> None:
    """Write a JSON object for each result; floats in their shortest exact form."""
    for table in tables:
        columns = [_values(column) for column in table.columns]
        for values in zip(*columns, strict=True):
            row: Mapping[str, Any] = dict(zip(table.column_names, values, strict=True))
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


TEXT_WRITERS: Mapping[str, TextWriter] = {"csv": write_csv_rows, "jsonl": write_json_lines}
RESULT_SUFFIXES = (*(f".{name}" for name in TEXT_WRITERS), ".parquet")
EMBEDDING_SUFFIXES = (".npy", ".parquet")


def _check_suffix(path: Path, suffixes: tuple[str, ...]) -> None:
    if path.suffix.lower() not in suffixes:
        raise DataError(f"{path}: the suffix chooses the format; use one of {', '.join(suffixes)}")
    if path.is_dir():
        raise DataError(f"{path}: a folder; name a file")


def _with_header(schema: pa.Schema, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    yield schema.empty_table()
    yield from tables


def _write_parquet(path: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> None:
    """Write row groups of the same size, whatever that of the tables: theirs depends on when results were saved."""
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for group in _regroup(tables):
            writer.write_table(group)


def _regroup(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    waiting: list[pa.Table] = []
    rows = 0
    for table in tables:
        waiting.append(table)
        rows += table.num_rows
        while rows >= GROUP_ROWS:
            joined = pa.concat_tables(waiting)
            yield joined.slice(0, GROUP_ROWS).combine_chunks()
            waiting, rows = [joined.slice(GROUP_ROWS)], rows - GROUP_ROWS
    if rows:
        yield pa.concat_tables(waiting).combine_chunks()


def _to_rows(column: pa.ListArray, size: int) -> npt.NDArray[np.float32]:
    rows = np.full((len(column), size), np.nan, np.float32)
    is_known = column.is_valid().to_numpy(zero_copy_only=False)
    rows[is_known] = column.flatten().to_numpy().reshape(-1, size)
    return rows


def _texts(column: pa.ChunkedArray) -> list[str | None]:
    """Return a column as text; Arrow's text of a float32 is its shortest exact form."""
    if pa.types.is_list(column.type):
        return ["; ".join(values) if values else None for values in column.to_pylist()]
    texts: list[str | None] = column.cast(pa.string()).to_pylist()
    return texts


def _values(column: pa.ChunkedArray) -> list[Any]:
    if pa.types.is_float32(column.type):
        return [None if text is None else float(text) for text in _texts(column)]
    values: list[Any] = column.to_pylist()
    return values
