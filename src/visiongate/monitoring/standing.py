"""Where the models stand: the latest drift check, the checks before it, and what was decided about versions."""

from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import BaseModel, Field

# More would make the page long.
MAX_CHECKS: Final = 30
MAX_DECISIONS: Final = 20


class CheckVerdict(BaseModel):
    """The verdict of a drift check."""

    time: datetime
    verdict: str


class Decision(BaseModel):
    """What a trigger or a rollout decided."""

    time: datetime
    kind: Annotated[str, Field(description="`retrain`, `rollout` or `drift`.")]
    verdict: str
    report: Annotated[dict[str, Any], Field(description="Why, as the command wrote it.")]


class Standing(BaseModel):
    """Where the models stand."""

    drift: Annotated[
        dict[str, Any] | None,
        Field(description="The latest report of `visiongate drift`; null if there is none."),
    ]
    checks: Annotated[
        list[CheckVerdict], Field(description=f"The latest {MAX_CHECKS} drift checks, the last one first.")
    ]
    decisions: Annotated[
        list[Decision], Field(description=f"The latest {MAX_DECISIONS} decisions, the last one first.")
    ]
