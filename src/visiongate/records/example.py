"""The value of the key ``example`` in the metadata of a model: an image and its probabilities."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from visiongate.errors import DataError

EXAMPLE = "example"


@dataclass(frozen=True, slots=True)
class Example:
    """What a model predicted when it was exported.

    Attributes:
        image: A PNG, in base64.
        probabilities: K.
    """

    image: str
    probabilities: list[float]


def read_example(metadata: Mapping[str, Any], source: str) -> Example | None:
    """Return the example of a model; None if its file has none.

    Raises:
        DataError: The value is not an `Example`.
    """
    if EXAMPLE not in metadata:
        return None
    try:
        return TypeAdapter(Example).validate_python(metadata[EXAMPLE])
    except ValidationError as error:
        raise DataError(f"{source}: metadata {EXAMPLE}: {error.errors()[0]['msg']}") from None
