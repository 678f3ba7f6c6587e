"""The section ``registry``: the registered model, and what a challenger must show."""

import math
from typing import Literal, Self

from pydantic import Field, model_validator

from visiongate.settings.fields import (
    Count,
    Index,
    Name,
    OpenShare,
    PairedMetricName,
    Positive,
    Section,
)


class NonInferiority(Section):
    """Promote a model that is hardly worse, if it is smaller or faster."""

    margin: Positive = Field(description="Largest loss of the metric, to be shown by the test.")
    gain: Literal["size", "latency"] = Field(description="What must improve.")
    by: OpenShare = Field(description="Share of the champion's size or latency that must be saved.")


class Registry(Section):
    """The registered model, and what a challenger must show."""

    name: Name = Field(description="Name of the registered model.")
    metric: PairedMetricName = Field(description="Metric that the paired test compares.")
    test: Literal["auto", "mcnemar", "bootstrap"] = Field(
        description="Paired test; auto takes McNemar's for accuracy of images without groups."
    )
    alpha: float = Field(gt=0, lt=0.5, description="Level of the one-sided test against the champion.")
    samples: Count = Field(description="Samples of the bootstrap.")
    seed: Index = Field(description="Seed of the bootstrap.")
    allow_lost_classes: bool = Field(
        description="Whether a model that lacks a class of the champion can become challenger."
    )
    non_inferiority: NonInferiority | None = Field(
        description="When to promote a model that is hardly worse; null never."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.test == "mcnemar" and self.metric != "accuracy":
            raise ValueError(f"test mcnemar compares accuracy, not {self.metric}; choose auto or bootstrap")
        if self.alpha * (self.samples + 1) <= 1:
            raise ValueError(
                f"samples {self.samples} is too low for a p-value below alpha {self.alpha:g}; "
                f"set at least {math.ceil(1 / self.alpha)}"
            )
        return self
