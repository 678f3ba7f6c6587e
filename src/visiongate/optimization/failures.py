"""Why trials failed, and which range of the search is to blame if all of them did."""

from collections.abc import Sequence
from dataclasses import dataclass

from visiongate.errors import DivergedError, NotLearningError, TrainingError, VisiongateError
from visiongate.settings.optimize import Optimize

DIVERGED, NOT_LEARNING = DivergedError.__name__, NotLearningError.__name__
# What to do about the learning rates, by the ways in which trials failed.
VERDICTS = {
    (DIVERGED,): ("diverged", "lower it"),
    (NOT_LEARNING,): ("learned nothing", "raise or lower it tenfold"),
    (DIVERGED, NOT_LEARNING): ("diverged or learned nothing", "lower it"),
}


class SearchFailedError(TrainingError):
    """Every trial of a search failed."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a trial failed: the name of the error's class, and its message in one line."""

    kind: str
    message: str

    @classmethod
    def of(cls, error: VisiongateError) -> "Failure":
        """Describe an error."""
        return cls(type(error).__name__, " ".join(str(error).split()))


def explain_failures(failures: Sequence[Failure], optimize: Optimize) -> str:
    """Return in one line why all trials failed: the range of the learning rate if it is searched, or the first message."""
    kinds = tuple(sorted({failure.kind for failure in failures}))
    verdict, advice = VERDICTS.get(kinds, ("failed", ""))
    rates = {name: each for name, each in optimize.space.items() if each.setting.endswith("lr")}
    trials = "the only trial" if len(failures) == 1 else f"all {len(failures)} trials"
    if not advice or not rates:
        return f"{trials} {verdict}; the first message: {failures[0].message}"
    ranges = " and ".join(f"optimize.space.{name} ({each.describe()})" for name, each in rates.items())
    return f"{trials} {verdict}; the learning rate is the likely cause: {advice} in {ranges}"
