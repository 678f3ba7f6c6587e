"""Tables of labels as text: CSV, TSV, JSON lines and Parquet.

Labels stay as they are written, so that ``01`` and ``1`` are two labels. Encodings are UTF-8, UTF-16 with a byte order mark, or
``dataset.encoding``. Commas, semicolons, tabs or vertical bars separate the cells, whichever is most frequent in the header.
"""

import codecs
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa

from visiongate.errors import DataError
from visiongate.ingestion.limits import check_limit
from visiongate.ingestion.names import suggest_encodings
from visiongate.ingestion.parquet_files import open_parquet
from visiongate.ingestion.trees import Tree
from visiongate.settings.dataset import Dataset

EXTENSIONS = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
JSON_EXTENSIONS = (".jsonl", ".ndjson")
SEPARATORS = ",;\t|"
UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
MAX_EXAMPLES = 3
# Rows of a Parquet file in memory, besides their texts.
BATCH_ROWS = 1024
# A word with bytes that could not be decoded.
UNDECODED = re.compile(r'[^,;|"\s]*\\x[0-9a-f]{2}[^,;|"\s]*')


@dataclass(frozen=True, slots=True)
class LabelTable:
    """A table.

    Attributes:
        path: Its path in the source.
        columns: The cells as text by column, equally many; empty text where a cell is empty.
        nested: Names of the columns of lists, objects or bytes, which are not read.
    """

    path: str
    columns: Mapping[str, list[str]]
    nested: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """The number of rows."""
        return len(next(iter(self.columns.values()), ()))


def is_label_table(path: str) -> bool:
    """Return whether a file may be a table of labels, by its extension."""
    return path.lower().endswith(EXTENSIONS)


def read_label_table(tree: Tree, path: str, dataset: Dataset) -> LabelTable:
    """Read a table.

    Raises:
        DataError: The encoding is unknown, or the table is damaged.
    """
    if path.lower().endswith(".parquet"):
        return _read_parquet(tree, path, dataset)
    source = f"{tree.name}: {path}"
    text = _decode(source, tree.read(path), dataset.encoding)
    read = _read_json_lines if path.lower().endswith(JSON_EXTENSIONS) else _read_csv
    return read(source, path, text)


def format_cell(value: object) -> str:
    """Return a value as text: whole numbers without a point, nothing for a missing value."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return "" if value != value else f"{value:.0f}" if value.is_integer() else str(value)  # noqa: PLR0124 - NaN
    # JSON may hold halves of characters, which no file can.
    return "" if value is None else str(value).encode("utf-8", "backslashreplace").decode()


def _decode(source: str, content: bytes, encoding: str | None) -> str:
    if content.startswith(UTF16_MARKS):
        return content.decode("utf-16", "replace")
    for each in ("utf-8-sig", encoding):
        try:
            if each is not None:
                return content.decode(each)
        except UnicodeDecodeError:
            continue
    words = UNDECODED.findall(content.decode("utf-8", "backslashreplace"))
    examples = list(dict.fromkeys(words))[:MAX_EXAMPLES]
    raise DataError(
        f"{source}: not UTF-8, such as {', '.join(examples)}; set dataset.encoding to the encoding that reads it: "
        f"{suggest_encodings(examples)}"
    )


def _read_csv(source: str, path: str, text: str) -> LabelTable:
    first = text.partition("\n")[0]
    unquoted = re.sub(r'"[^"]*"', "", first)
    separator = "\t" if path.lower().endswith(".tsv") else max(SEPARATORS, key=unquoted.count)
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True
    )
    try:
        header = [name.strip() for name in next(reader, [])]
        rows = list(_check_widths(source, reader, len(header)))
    except csv.Error as error:
        raise DataError(f"{source}: line {reader.line_num}: {error}; correct the quotes") from None
    _check_header(source, header)
    cells = zip(*rows, strict=True) if rows else [()] * len(header)
    return LabelTable(path, {name: list(column) for name, column in zip(header, cells, strict=True) if name})


def _check_widths(source: str, rows: Iterable[list[str]], width: int) -> Iterator[list[str]]:
    for number, row in enumerate(rows, 1):
        if len(row) == width:
            yield [cell.strip() for cell in row]
        elif any(row):
            raise DataError(
                f"{source}: row {number:,} has {len(row)} cells, but the header {width}: {', '.join(row)[:60]}; put cells with "
                "separators in quotes"
            )


def _check_header(source: str, header: list[str]) -> None:
    # A column without a name is the index that pandas writes.
    repeated = [name for name, count in Counter(filter(None, header)).items() if count > 1]
    if repeated:
        raise DataError(f"{source}: several columns are named {repeated[0]!r}; rename them")


def _read_json_lines(source: str, path: str, text: str) -> LabelTable:
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise DataError(f'{source}: line {number}: not a JSON object such as {{"image": …, "label": …}}')
        rows.append(row)
    names = list(dict.fromkeys(name for row in rows for name in row))
    nested = {name for row in rows for name, value in row.items() if isinstance(value, list | dict)}
    columns = {name: [format_cell(row.get(name)) for row in rows] for name in names if name not in nested}
    return LabelTable(path, columns, tuple(sorted(nested)))


def _read_parquet(tree: Tree, path: str, dataset: Dataset) -> LabelTable:
    source = f"{tree.name}: {path}"
    with open_parquet(tree, path, dataset) as file:
        schema = file.schema_arrow
        _check_header(source, schema.names)
        flat = [field.name for field in schema if not is_nested(field.type)]
        columns: dict[str, list[str]] = {name: [] for name in flat}
        size = 0
        for batch in file.iter_batches(BATCH_ROWS, columns=flat) if flat else ():
            size += batch.nbytes
            check_limit(source, "max_file_bytes", size, "bytes of text", dataset.limits)
            for name, cells in columns.items():
                cells.extend(map(format_cell, batch.column(name).to_pylist()))
    return LabelTable(path, columns, tuple(name for name in schema.names if name not in flat))


def is_nested(kind: pa.DataType) -> bool:
    """Return whether a column's type holds lists, objects or bytes."""
    return pa.types.is_nested(kind) or kind in (pa.binary(), pa.large_binary(), pa.binary_view())
