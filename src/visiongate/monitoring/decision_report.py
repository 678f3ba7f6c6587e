"""What every recorded decision says."""

from datetime import datetime
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, Field

DecisionKind = Literal["retrain", "rollout"]


class DecisionReport(BaseModel):
    """A decision from what the prediction log has."""

    kind: ClassVar[DecisionKind]

    checked_at: datetime
    verdict: str
    advice: Annotated[str, Field(description="What to do, in a sentence.")]
