"""The verdict about challengers, as it is printed, written to a file, and recorded beside the predictions."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, Field

from visiongate.monitoring.decision_report import DecisionKind, DecisionReport
from visiongate.records.interval import Interval

RolloutVerdict = Literal["promote", "hold", "roll back"]
Stage = Literal["shadow", "canary"]


class RolloutModel(BaseModel):
    """A version that takes part."""

    name: str
    version: Annotated[str | None, Field(description="Null for a file.")]
    sha256: str

    def __str__(self) -> str:
        """Return its name and version, or the start of its sha256."""
        return f"{self.name} {self.version or self.sha256[:12]}"


class Exposed(BaseModel):
    """What a version did in its role."""

    predictions: int
    failures: Annotated[int, Field(description="Images that it could not predict.")]
    confidence: Annotated[float | None, Field(description="Mean; null without predictions.")]
    p95_ms: Annotated[
        float | None, Field(description="95th percentile of the latency; null without predictions.")
    ]


class RolloutCheck(BaseModel):
    """One condition."""

    check: Literal["accuracy", "errors", "latency"]
    verdict: RolloutVerdict
    reason: str


class StageReport(BaseModel):
    """A challenger in one role beside the champion."""

    stage: Stage
    challenger: RolloutModel
    champion: RolloutModel
    verdict: RolloutVerdict
    checks: list[RolloutCheck]
    first: datetime
    last: datetime
    challenger_did: Exposed
    champion_did: Exposed
    agreement: Annotated[
        float | None,
        Field(
            description="Share of a shadow's predictions that are those of the answers; null for a canary."
        ),
    ]
    labels: Annotated[
        int,
        Field(description="Images whose true class was asked for and given, one for each different image."),
    ]
    volunteered: Annotated[int, Field(description="Labels that were not asked for. They do not count.")]
    givers: Annotated[int, Field(description="API keys that gave labels.")]
    difference: Annotated[
        Interval | None,
        Field(
            description="Accuracy of the challenger less that of the champion, with bounds that hold at all looks together; "
            "null without labels."
        ),
    ]
    wins: Annotated[int, Field(description="Images that only the shadow predicted correctly.")]
    losses: Annotated[int, Field(description="Images that only the champion predicted correctly.")]


class RolloutReport(DecisionReport):
    """The challengers that predict at present."""

    kind: ClassVar[DecisionKind] = "rollout"

    level: Annotated[float, Field(description="Probability of a wrong verdict about a challenger, at most.")]
    verdict: RolloutVerdict
    stages: Annotated[
        list[StageReport], Field(description="Empty if no challenger predicts beside the champion.")
    ]
    applied: list[str] = Field(default_factory=list, description="What was changed in the registry.")


def keep_deciding(stages: Sequence[StageReport]) -> list[StageReport]:
    """Return the stages whose verdicts count: of a challenger in both roles, that of the canary, unless the shadow fails."""
    canaries = {stage.challenger.sha256 for stage in stages if stage.stage == "canary"}
    return [
        stage
        for stage in stages
        if stage.stage == "canary" or stage.verdict == "roll back" or stage.challenger.sha256 not in canaries
    ]
