"""The result of a drift check, as it is printed, written to ``drift.json``, and recorded beside the predictions."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from visiongate.records.interval import Interval
from visiongate.settings.monitoring import DriftTest

Verdict = Literal["no drift", "drift", "cannot say"]
Harm = Literal["none", "possible", "estimated", "measured"]
# Where the reference comes from.
Origin = Literal[
    "held-out images",
    "held-out images and first predictions",
    "first predictions",
    "predictions beside the champion",
]


class DriftTestResult(BaseModel):
    """What the window says about one quantity."""

    test: DriftTest
    drifted: Annotated[
        bool,
        Field(description="Whether the p-value is at most `level`, and the effect large enough to matter."),
    ]
    effect: float
    unit: Annotated[str, Field(description="Of the effect.")]
    p_value: Annotated[
        float, Field(description="Adjusted for all tests of the check (Holm); at most `level` is drift.")
    ]
    what: Annotated[str, Field(description="What has changed, in words.")]


class Finding(DriftTestResult):
    """A test that found drift."""

    severity: Literal["critical", "warning", "info"]
    harm: Harm
    since: Annotated[
        datetime | None,
        Field(
            description="When it most likely began, or the start of the window if that cannot be told. Later checks in a row "
            "repeat it."
        ),
    ]
    advice: str


class EstimatedShare(BaseModel):
    """The share of a true class."""

    name: str
    share: float
    low: Annotated[float, Field(description="Of the 95% interval.")]
    high: float
    reference: float
    changed: Annotated[
        bool,
        Field(description="Whether it has changed for sure: at 95% for all classes together (Bonferroni)."),
    ] = False


class LabelShiftEstimate(BaseModel):
    """The shares of the true classes, estimated from the predicted ones."""

    classes: list[EstimatedShare]
    limits: str


class AccuracyEstimate(BaseModel):
    """The accuracy, estimated without labels."""

    value: float
    low: Annotated[float, Field(description="Of the 95% interval.")]
    high: float
    reference: Annotated[float, Field(description="The accuracy of the held-out images.")]
    reliable: Annotated[
        bool,
        Field(
            description="False if other tests found images unlike the held-out ones, or a flood, whose copies are left "
            "out: the accuracy is probably lower."
        ),
    ]
    limits: str


class Period(BaseModel):
    """Predictions that are compared."""

    predictions: int
    copies: Annotated[
        int,
        Field(description="Of these, copies and near-copies of others; about, if a selection is compared."),
    ] = 0
    compared: Annotated[
        int, Field(description="An even selection, if they are many, without copies of one picture.")
    ]
    first: datetime | None
    last: datetime | None


class ReferenceSummary(BaseModel):
    """What a window is compared with."""

    origin: Origin | None
    images: int
    accuracy: float | None
    missing: Annotated[str | None, Field(description="What it lacks, in words.")]


class ModelDrift(BaseModel):
    """The check of one version of a model."""

    name: str
    version: Annotated[str | None, Field(description="Null for a file.")]
    sha256: str
    verdict: Verdict
    harm: Harm
    reference: ReferenceSummary
    window: Period
    causes: Annotated[list[str], Field(description="What explains the findings, the most likely one first.")]
    findings: list[Finding]
    tests: Annotated[list[DriftTestResult], Field(description="All tests that could be made.")]
    accuracy: AccuracyEstimate | None
    label_shift: LabelShiftEstimate | None
    advice: Annotated[str, Field(description="What to do, or what is missing.")]


class DriftReport(BaseModel):
    """The check of all versions that answered in the window."""

    format: Literal[2] = 2
    checked_at: datetime
    hours: Annotated[float, Field(description="Length of the window.")]
    yearly_level: Annotated[float, Field(description="Probability of a false alarm within a year, at most.")]
    level: Annotated[
        float, Field(description="The part of it that this check spends, for the time since the one before.")
    ]
    verdict: Verdict
    harm: Harm
    advice: str
    models: list[ModelDrift]

    def state(self) -> "DriftState":
        """Return what the metrics show."""
        found: dict[str, bool] = {}
        for model in self.models:
            alarms = {each.test for each in model.findings if each.severity != "info"}
            for each in model.tests:
                found[each.test] = found.get(each.test, False) or each.test in alarms
        estimated = {
            (model.name, model.version or model.sha256[:12]): Interval(
                model.accuracy.value, model.accuracy.low, model.accuracy.high
            )
            for model in self.models
            if model.accuracy
        }
        return DriftState(self.checked_at.timestamp(), found, estimated)


@dataclass(frozen=True, slots=True)
class DriftState:
    """The last check, for the metrics.

    Attributes:
        checked_at: Seconds since 1970.
        drifted: Whether a test alarms, of any version; without the tests that could not be made.
        estimated: The accuracy by the name of a model, and its version or the start of its sha256.
    """

    checked_at: float
    drifted: Mapping[str, bool]
    estimated: Mapping[tuple[str, str], Interval] = field(default_factory=dict)
