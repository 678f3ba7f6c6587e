"""What is counted and summed over predictions: all that the statistics of the prediction log need."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class Cell(NamedTuple):
    """What feedback is counted by.

    Attributes:
        label: The true class.
        predicted: The predicted class.
        asked: Whether the service asked for it.
        giver: Name of the API key that it came with; None without keys.
        bin: Of the prediction's confidence, see `calibration.BINS`.
    """

    label: str
    predicted: str
    asked: bool = False
    giver: str | None = None
    bin: int = 0


class Voice(NamedTuple):
    """Who gave feedback, and whether the service asked for it; as in `Cell`."""

    asked: bool
    giver: str | None


class Repeats(NamedTuple):
    """How often the same files are among predictions with feedback.

    Attributes:
        images: Different files.
        labels: Predictions with feedback for these.
        squares: Sum over the files of the squared number of predictions.
    """

    images: int
    labels: int
    squares: int


@dataclass(slots=True)
class Tally:
    """What was counted and summed over predictions. Tallies of disjoint predictions can be added.

    Attributes:
        by_class: Predictions by predicted class; a class may be missing.
        first_us, last_us: Times of the first and the last prediction, in microseconds since 1970.
        confidence: Sum of the confidences.
        sure, sure_known: Predictions that are sure, and for which this is known.
        unlike, unlike_known: The same of images out of distribution.
        total_ms: Sum of the latencies.
        latencies: Of the latest predictions, in milliseconds.
        confidences: Predictions by bin of their confidence.
        roles: Predictions by the role in which the version made them; without those of an older log.
        asked: Predictions whose true class the service asked for.
        feedback: Predictions with feedback.
        feedback_confidence: Sums of the confidences of these.
        repeats: The files of these, as far as the log knows them.
    """

    by_class: Counter[str] = field(default_factory=Counter)
    first_us: int | None = None
    last_us: int | None = None
    confidence: float = 0.0
    sure: int = 0
    sure_known: int = 0
    unlike: int = 0
    unlike_known: int = 0
    total_ms: float = 0.0
    latencies: Floats = field(default_factory=lambda: np.empty(0))
    confidences: Counter[int] = field(default_factory=Counter)
    roles: Counter[str] = field(default_factory=Counter)
    asked: int = 0
    feedback: Counter[Cell] = field(default_factory=Counter)
    feedback_confidence: defaultdict[Cell, float] = field(default_factory=lambda: defaultdict(float))
    repeats: dict[Voice, Repeats] = field(default_factory=dict)

    @property
    def predictions(self) -> int:
        """How many predictions were counted."""
        return self.by_class.total()

    def add(self, other: "Tally") -> None:
        """Add the counts of other predictions."""
        self.by_class.update(other.by_class)
        self.confidences.update(other.confidences)
        self.roles.update(other.roles)
        self.asked += other.asked
        self.feedback.update(other.feedback)
        for cell, confidence in other.feedback_confidence.items():
            self.feedback_confidence[cell] += confidence
        for voice, repeats in other.repeats.items():
            known = self.repeats.get(voice, Repeats(0, 0, 0))
            self.repeats[voice] = Repeats(*map(sum, zip(known, repeats, strict=True)))
        self.first_us = min(
            (time for time in (self.first_us, other.first_us) if time is not None), default=None
        )
        self.last_us = max((time for time in (self.last_us, other.last_us) if time is not None), default=None)
        self.confidence += other.confidence
        self.sure, self.sure_known = self.sure + other.sure, self.sure_known + other.sure_known
        self.unlike, self.unlike_known = self.unlike + other.unlike, self.unlike_known + other.unlike_known
        self.total_ms += other.total_ms
        self.latencies = np.concatenate([self.latencies, other.latencies])


def merge_tallies(tallies: Iterable[Tally]) -> Tally:
    """Return the sum of tallies of disjoint predictions."""
    total = Tally()
    for tally in tallies:
        total.add(tally)
    return total
