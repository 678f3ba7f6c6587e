"""The result of a drift check, as it is printed, written to a file, and recorded beside the predictions."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

Verdict = Literal["no drift", "drift", "cannot say"]
Quantity = Literal["classes", "confidence"]


class Comparison(BaseModel):
    """What the window says about one quantity."""

    check: Quantity
    drifted: bool
    distance: Annotated[
        float,
        Field(
            description="From 0 to 1. Of the classes: the total variation distance, the share of predictions that would need "
            "another class. Of the confidence: the largest difference of the distribution functions (Kolmogorov, Smirnov)."
        ),
    ]
    p_value: Annotated[
        float,
        Field(description="Adjusted for all comparisons of the check (Holm); at most `level` is drift."),
    ]
    what: Annotated[str, Field(description="What has changed most, in words.")]
    since: Annotated[
        datetime | None,
        Field(
            description="Start of the first window of the checks in a row that found it; null without drift."
        ),
    ]


class Period(BaseModel):
    """Predictions that are compared."""

    predictions: int
    compared: Annotated[int, Field(description="An even selection of them, if they are many.")]
    first: datetime | None
    last: datetime | None


class ModelDrift(BaseModel):
    """The check of one version of a model."""

    name: str
    version: Annotated[str | None, Field(description="Null for a file.")]
    sha256: str
    verdict: Verdict
    reference: Annotated[Period, Field(description="The first predictions of the version.")]
    window: Annotated[Period, Field(description="The recent ones, after those of the reference.")]
    comparisons: Annotated[list[Comparison], Field(description="Empty if there are too few predictions.")]
    advice: Annotated[str, Field(description="What to do, or how many predictions are missing.")]


class DriftReport(BaseModel):
    """The check of all versions that answered in the window."""

    checked_at: datetime
    hours: Annotated[float, Field(description="Length of the window.")]
    level: Annotated[float, Field(description="Probability of a false alarm of this check, at most.")]
    verdict: Verdict
    advice: str
    models: list[ModelDrift]

    def state(self) -> "DriftState":
        """Return what the metrics show."""
        found: dict[str, bool] = {}
        for each in (comparison for model in self.models for comparison in model.comparisons):
            found[each.check] = found.get(each.check, False) or each.drifted
        return DriftState(self.checked_at.timestamp(), found)


@dataclass(frozen=True, slots=True)
class DriftState:
    """The last check, for the metrics.

    Attributes:
        checked_at: Seconds since 1970.
        drifted: Whether a quantity has drifted, of any version; without the quantities that the check could not compare.
    """

    checked_at: float
    drifted: Mapping[str, bool]
