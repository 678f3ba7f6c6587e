"""JSON files that hold one typed record."""

from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from visiongate.errors import DataError
from visiongate.records.files import read_output

Record = TypeVar("Record")


def read_record(path: Path, schema: type[Record]) -> Record:
    """Read a JSON file into a dataclass or a pydantic model.

    Raises:
        DataError: The file is missing, or its content does not match the schema.
    """
    return parse_record(read_output(path), schema, str(path))


def parse_record(content: bytes, schema: type[Record], source: str) -> Record:
    """Parse JSON into a dataclass or a pydantic model. Types are checked strictly.

    Args:
        content: UTF-8 JSON.
        schema: The record's class.
        source: The file's name, for the error message.

    Raises:
        DataError: The content does not match the schema.
    """
    try:
        return TypeAdapter(schema).validate_json(content, strict=True)
    except ValidationError as error:
        problem = error.errors()[0]
        key = "".join(f"{part}: " for part in problem["loc"])
        raise DataError(
            f"{source}: {key}{problem['msg']}; run `dvc checkout --force`, or `dvc repro` for the stage that writes it"
        ) from None
