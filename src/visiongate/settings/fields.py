"""What the sections of the settings are built of."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from visiongate.records.metrics import (
    CLASS_METRICS,
    PAIRED_METRICS,
    TEST_METRICS,
    VALIDATION_METRICS,
)

# Of a learning rate: torch must be able to multiply it without overflow.
MAX_RATE = 1e6

Share = Annotated[float, Field(ge=0, le=1)]
OpenShare = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Rate = Annotated[float, Field(gt=0, le=MAX_RATE)]
Count = Annotated[int, Field(ge=1)]
Index = Annotated[int, Field(ge=0)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Severity = Literal["critical", "warning"]
OptionValue = bool | int | float | str | list[int]


class Section(BaseModel):
    """A frozen part of the settings that rejects unknown keys and converts nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def _one_of(names: tuple[str, ...]) -> AfterValidator:
    def check(name: str) -> str:
        if name not in names:
            raise ValueError(f"choose one of {', '.join(names)}")
        return name

    return AfterValidator(check)


# The name of a metric of the test split or of a class, and of the validation split after an epoch.
MetricName = Annotated[str, _one_of(TEST_METRICS + CLASS_METRICS)]
Monitor = Annotated[str, _one_of(VALIDATION_METRICS)]
# A metric that a paired test compares.
PairedMetricName = Annotated[str, _one_of(PAIRED_METRICS)]
