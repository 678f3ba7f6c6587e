"""Whether a new model is due, as it is printed, written to a file, and recorded beside the predictions."""

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, Field

from visiongate.monitoring.decision_report import DecisionKind, DecisionReport
from visiongate.records.interval import Interval

RetrainVerdict = Literal["retrain", "no need", "cannot say"]
RetrainReason = Literal["measured harm", "estimated harm", "new labels"]


class RetrainCheck(BaseModel):
    """One reason to train again."""

    check: RetrainReason
    due: Annotated[bool | None, Field(description="Null if it cannot be judged.")]
    reason: str


class RetrainReport(DecisionReport):
    """Whether a new model is due."""

    kind: ClassVar[DecisionKind] = "retrain"

    verdict: RetrainVerdict
    name: Annotated[str | None, Field(description="Of the champion; null without a prediction.")]
    version: Annotated[str | None, Field(description="Null for a file.")]
    sha256: str | None
    checks: Annotated[list[RetrainCheck], Field(description="Drift alone is no reason.")]
    accuracy: Annotated[
        Interval | None,
        Field(
            description="Share of the answers that were correct, among those whose true class was asked for, with bounds that "
            "hold at all looks together; null without any."
        ),
    ]
    labels: Annotated[int, Field(description="Images that `accuracy` is of.")]
