"""CSV files whose rows are instances of a dataclass, one column per field.

A field with ``metadata={"column": ...}`` has a column of another name. An empty cell is None where the field may be None.
"""

from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from pydantic import TypeAdapter

from visiongate.errors import DataError
from visiongate.records.files import read_output, write_csv
from visiongate.records.parsing import check_type, parse_csv

Row = TypeVar("Row")


def write_rows(path: Path, rows: Sequence[Row], schema: type[Row]) -> None:
    """Write rows of a dataclass under a header."""
    columns = _columns(schema)
    cells = ({column: getattr(row, name) for name, column in columns.items()} for row in rows)
    write_csv(path, cells, list(columns.values()))


def read_rows(path: Path, schema: type[Row]) -> tuple[Row, ...]:
    """Read the rows of a CSV file.

    Raises:
        DataError: The file is missing or invalid.
    """
    return parse_rows(read_output(path), schema, str(path))


def parse_rows(content: bytes, schema: type[Row], source: str) -> tuple[Row, ...]:
    """Parse the content of a CSV file; other columns are ignored.

    Args:
        content: UTF-8 text.
        schema: The dataclass of a row.
        source: The file's name, for the error message.

    Raises:
        DataError: A column is missing, or a cell is invalid.
    """
    try:
        values = _values(parse_csv(content, *_columns(schema).values()), schema)
        return tuple(check_type(TypeAdapter(list[schema]), list(values)))  # type: ignore[valid-type]
    except DataError as error:
        raise DataError(f"{source}: {error}") from None


def _columns(schema: type) -> dict[str, str]:
    """Return the column of each field."""
    return {field.name: field.metadata.get("column", field.name) for field in fields(schema)}


def _values(rows: Iterable[Any], schema: type) -> Iterable[dict[str, str | None]]:
    columns = _columns(schema)
    optional = {name for name, kind in get_type_hints(schema).items() if type(None) in get_args(kind)}
    for row in rows:
        cells = {name: row[column] for name, column in columns.items()}
        yield {name: None if name in optional and not cell else cell for name, cell in cells.items()}
