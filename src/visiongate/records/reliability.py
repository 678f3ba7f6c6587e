"""The value of the key ``reliability`` in the metadata of a model: when its predictions can be relied on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from visiongate.errors import DataError

RELIABILITY = "reliability"

_Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
_Finite = Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class Reliability:
    """The thresholds that `visiongate.models.reliability` applies to the outputs of a model.

    Attributes:
        error_rate: The largest share of images whose prediction set may lack the true class.
        min_probability: The probability from which a class is in the prediction set: 1 minus the quantile of the conformal
            score. 0 if there were too few images, so that every set has all classes.
        novelty_threshold: An image with a higher novelty is out of distribution; None if the model has no such output.
        images: How many images the thresholds were fitted on. The model was not trained on them.
    """

    error_rate: _Share
    min_probability: _Share
    novelty_threshold: _Finite | None
    images: Annotated[int, Field(ge=0)]


def read_reliability(metadata: Mapping[str, Any], source: str) -> Reliability | None:
    """Return the reliability of a model; None if its file does not state any.

    Args:
        metadata: Of the model's file, parsed.
        source: The name of the file, for the error message.

    Raises:
        DataError: The value is not a `Reliability`.
    """
    if RELIABILITY not in metadata:
        return None
    try:
        return TypeAdapter(Reliability).validate_python(metadata[RELIABILITY])
    except ValidationError as error:
        problem = error.errors()[0]
        key = "".join(f"{part}: " for part in problem["loc"])
        raise DataError(
            f"{source}: metadata {RELIABILITY}: {key}{problem['msg']}; run `dvc repro train`, which writes the file"
        ) from None
