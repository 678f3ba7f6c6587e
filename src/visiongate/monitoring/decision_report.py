"""What every recorded decision says."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, ClassVar, Final, Literal

from pydantic import BaseModel, Field

DecisionKind = Literal["retrain", "rollout"]
# Of a rollout whose aliases were moved: nothing waits for a person.
APPLIED: Final = "applied"
# What the latest decision of each kind may be.
VERDICTS: Final[Mapping[DecisionKind, tuple[str, ...]]] = {
    "retrain": ("retrain", "no need", "cannot say"),
    "rollout": ("promote", "roll back", "hold", APPLIED),
}


class DecisionReport(BaseModel):
    """A decision from what the prediction log has."""

    kind: ClassVar[DecisionKind]

    checked_at: datetime
    verdict: str
    advice: Annotated[str, Field(description="What to do, in a sentence.")]


@dataclass(frozen=True, slots=True)
class LatestDecision:
    """The latest decision of its kind, for the metrics.

    Attributes:
        kind: What was decided.
        verdict: One of `VERDICTS`.
        decided_at: Seconds since 1970.
    """

    kind: DecisionKind
    verdict: str
    decided_at: float
