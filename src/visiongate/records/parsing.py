"""JSON, YAML and CSV from files that anyone may have written: checked, and bounded in size and depth.

Each function raises `DataError` if the content is invalid. The message does not name the file, which only the caller knows.
"""

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from visiongate.errors import DataError

# Of a tree: nested lists can make a small file very large.
MAX_VALUES, MAX_DEPTH = 20_000, 30
# Of an integer: printing a longer one takes seconds, or is refused.
MAX_BITS = 4_000

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
Parsed = TypeVar("Parsed")


def parse_json(content: bytes | str) -> Any:  # noqa: ANN401 - whatever JSON holds
    """Parse JSON."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"invalid JSON: {_one_line(error)}") from None


def parse_yaml(content: bytes | str) -> Any:  # noqa: ANN401 - whatever YAML holds
    """Parse YAML without aliases and tags, which make a small file endless and which nothing here writes."""
    try:
        _check_events(content)
        return yaml.load(content, Loader=_LOADER)  # noqa: S506 - a safe loader
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError, yaml.YAMLError) as error:
        raise DataError(f"invalid YAML: {_one_line(error)}") from None


def parse_csv(content: bytes, *columns: str) -> Iterator[Mapping[str, str]]:
    """Yield the rows of a CSV file that must have these columns."""
    return (row for _, row in parse_numbered_csv(content, *columns))


def parse_numbered_csv(content: bytes, *columns: str) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Yield the rows of a CSV file that must have these columns, with the number of each row's last line."""
    reader = csv.DictReader(io.StringIO(content.decode("utf-8", errors="replace"), newline=""))
    try:
        missing = [column for column in columns if column not in (reader.fieldnames or ())]
        if missing:
            raise DataError(f"column {', '.join(missing)} is missing")
        for row in reader:
            if None in row or None in row.values():
                raise DataError(f"line {reader.line_num} has not {len(reader.fieldnames or ())} cells")
            yield reader.line_num, row
    except csv.Error as error:
        raise DataError(f"invalid CSV: {error}") from None


def check_type(kind: TypeAdapter[Parsed], value: object) -> Parsed:
    """Validate plain values."""
    try:
        return kind.validate_python(value)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, problem["loc"]))
        raise DataError(f"{where}: {problem['msg']}" if where else problem["msg"]) from None


def flatten(tree: object) -> dict[str, object]:
    """Return the values of a tree by dotted name, as in ``model.lr``; lists of plain values stay whole, as tuples."""
    if not isinstance(tree, Mapping):
        raise DataError("the content is not a mapping")
    values: dict[str, object] = {}
    for name, value in _leaves(tree, "", 0):
        items = value if isinstance(value, tuple) else (value,)
        if any(isinstance(item, int) and item.bit_length() > MAX_BITS for item in items):
            raise DataError(f"{name[:80]} is an integer of more than {MAX_BITS:,} bits")
        values[name] = value
        if len(values) > MAX_VALUES:
            raise DataError(f"more than {MAX_VALUES:,} values")
    return values


def is_finite(value: object) -> TypeGuard[int | float]:
    """Return whether a value is a finite number; a boolean is not a number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _leaves(node: object, name: str, depth: int) -> Iterator[tuple[str, object]]:
    if depth > MAX_DEPTH:
        raise DataError(f"nested more than {MAX_DEPTH} deep")
    if isinstance(node, list) and not any(isinstance(item, Mapping | list) for item in node):
        yield name, tuple(node)
    elif isinstance(node, Mapping | list) and node:
        for key, value in node.items() if isinstance(node, Mapping) else enumerate(node):
            yield from _leaves(value, f"{name}.{key}".removeprefix("."), depth + 1)
    else:
        yield name, "{}" if isinstance(node, Mapping) else node


def _check_events(content: bytes | str) -> None:
    depth = 0
    for event in yaml.parse(content, Loader=_LOADER):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None) is not None:
            raise DataError("aliases and tags are not allowed")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise DataError(f"nested more than {MAX_DEPTH} deep")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:120]
