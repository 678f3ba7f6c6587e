"""The section ``gate``: the rules that a model must pass."""

from typing import Literal, Self

from pydantic import Field, model_validator

from visiongate.records.metrics import CLASS_METRICS
from visiongate.settings.fields import MetricName, NonNegative, Section


class Rule(Section):
    """One rule: a comparison with a threshold, or the largest drop against the base."""

    metric: MetricName = Field(description="Metric of the test split, or of a class.")
    comparison: Literal[">=", ">", "<=", "<"] | None = Field(
        default=None, description="How the metric is compared with the threshold."
    )
    threshold: float | None = Field(default=None, description="Threshold.")
    bound: Literal["point", "worst", "best"] = Field(
        default="point",
        description="`worst` compares the worse end of the interval: the model must be shown to pass. `best` compares the "
        "better end: it must not be shown to fail.",
    )
    classes: Literal["all"] | list[str] | None = Field(
        default=None, description="Classes that must each pass, with recall, precision and f1."
    )
    max_drop: NonNegative | None = Field(
        default=None, description="Largest drop against the base branch; a rise, if lower is better."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.threshold is None) != (self.comparison is None):
            raise ValueError("comparison and threshold need each other")
        if (self.threshold is None) == (self.max_drop is None):
            raise ValueError("give either comparison and threshold, or max_drop")
        if (self.metric in CLASS_METRICS) != (self.classes is not None):
            raise ValueError(
                f"classes goes with the metrics {', '.join(CLASS_METRICS)} only, not with {self.metric}"
            )
        if self.max_drop is not None and (self.classes is not None or self.bound != "point"):
            raise ValueError("max_drop takes neither classes nor bound")
        return self


class Gate(Section):
    """The rules that a model must pass."""

    rules: dict[str, Rule] = Field(min_length=1, description="Rules by name.")
