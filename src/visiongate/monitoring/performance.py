"""How good a model's answers were, by the true classes that people gave, and how long they took.

All functions are pure functions of counts. People choose which predictions they give feedback for, and report mistakes more
often than they confirm answers: the scores describe the predictions with feedback, not all predictions.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field

from visiongate.records.interval import Interval, wilson_interval

CONFIDENCE = 0.95
Floats = npt.NDArray[np.float64]


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
        confirmed: Predictions by true and predicted class, of those with feedback.
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
    confirmed: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def predictions(self) -> int:
        """How many predictions were counted."""
        return self.by_class.total()

    def add(self, other: "Tally") -> None:
        """Add the counts of other predictions."""
        self.by_class.update(other.by_class)
        self.confirmed.update(other.confirmed)
        self.first_us = min(
            (time for time in (self.first_us, other.first_us) if time is not None), default=None
        )
        self.last_us = max((time for time in (self.last_us, other.last_us) if time is not None), default=None)
        self.confidence += other.confidence
        self.sure, self.sure_known = self.sure + other.sure, self.sure_known + other.sure_known
        self.unlike, self.unlike_known = self.unlike + other.unlike, self.unlike_known + other.unlike_known
        self.total_ms += other.total_ms
        self.latencies = np.concatenate([self.latencies, other.latencies])


@dataclass(frozen=True, slots=True)
class ClassScores:
    """The scores of a class, by feedback."""

    name: str
    predicted: Annotated[int, Field(description="Predictions of the class, with and without feedback.")]
    labeled: Annotated[int, Field(description="Predictions with feedback whose true class is this one.")]
    precision: Annotated[
        Interval | None,
        Field(description="Share of its predictions that feedback confirms; null without feedback for one."),
    ]
    recall: Annotated[
        Interval | None,
        Field(description="Share of `labeled` that was predicted as this class; null if there is none."),
    ]
    f1: Annotated[Interval | None, Field(description="The harmonic mean of both; null if `labeled` is 0.")]


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of a model, by feedback."""

    labeled: Annotated[int, Field(description="Predictions with feedback.")]
    accuracy: Annotated[
        Interval | None, Field(description="Share of them that was correct; null if there are none.")
    ]
    macro_f1: Annotated[
        Interval | None,
        Field(description="The mean F1 of the classes with `labeled` above 0; null if there are none."),
    ]
    classes: Annotated[tuple[ClassScores, ...], Field(description="In the order of the model's classes.")]


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from the complete request to the answer."""

    mean: Annotated[float, Field(description="Of all predictions.")]
    p50: float
    p95: float
    p99: float
    predictions: Annotated[int, Field(description="The latest predictions, which the percentiles are of.")]


def score_feedback(tally: Tally, classes: Sequence[str]) -> Scores:
    """Return accuracy, precision, recall and F1 with their intervals at 95%.

    Args:
        tally: The predictions.
        classes: The classes of the model.
    """
    hits, actual, called = _count(tally.confirmed, classes)
    scores = tuple(
        ClassScores(
            name,
            tally.by_class.get(name, 0),
            int(actual[number]),
            _share(hits[number], called[number]),
            _share(hits[number], actual[number]),
            _f1(hits[number], actual[number], called[number]) if actual[number] else None,
        )
        for number, name in enumerate(classes)
    )
    f1s = [score.f1 for score in scores if score.f1 is not None]
    return Scores(
        int(actual.sum()),
        _share(hits.sum(), actual.sum()),
        macro_interval(f1s) if f1s else None,
        scores,
    )


def macro_interval(parts: Sequence[Interval]) -> Interval:
    """Return the mean of F1 scores with an interval, which is wider than necessary.

    The distances of the classes' bounds are combined by squares: Zou, G. Y., Donner, A. (2008), Construction of confidence
    limits about effect measures: a general approach, Statistics in Medicine 27, 1693-1702. Two changes keep the confidence:

    - A mistake lowers the scores of two classes, its true and its predicted one. As (a + b)² is at most 2 (a² + b²), twice the
      variance of independent classes is an upper bound. It is reached by two classes, where a mistake always concerns both.
    - The mean of many classes is nearly symmetric, although the score of a class with few labels is not. So the larger of its
      two distances counts in both directions.
    """
    mean, classes = fmean(part.value for part in parts), len(parts)
    squares = sum(max(part.value - part.low, part.high - part.value) ** 2 for part in parts)
    half = (min(2, classes) * squares) ** 0.5 / classes
    return Interval(mean, max(0.0, mean - half), min(1.0, mean + half))


def measure_latency(tally: Tally) -> Latency | None:
    """Return mean and percentiles; None without predictions."""
    if not tally.predictions or not len(tally.latencies):
        return None
    p50, p95, p99 = np.percentile(tally.latencies, (50, 95, 99)).tolist()
    return Latency(tally.total_ms / tally.predictions, p50, p95, p99, len(tally.latencies))


def merge_tallies(tallies: Iterable[Tally]) -> Tally:
    """Return the sum of tallies of disjoint predictions."""
    total = Tally()
    for tally in tallies:
        total.add(tally)
    return total


def _count(confirmed: Mapping[tuple[str, str], int], classes: Sequence[str]) -> tuple[Floats, Floats, Floats]:
    """Return correct predictions, labels and predictions, K each, of those with feedback."""
    numbers = {name: number for number, name in enumerate(classes)}
    hits, actual, called = (np.zeros(len(classes)) for _ in range(3))
    for (label, predicted), count in confirmed.items():
        actual[numbers[label]] += count
        called[numbers[predicted]] += count
        hits[numbers[label]] += count * (label == predicted)
    return hits, actual, called


def _share(part: float, whole: float) -> Interval | None:
    return wilson_interval(float(part / whole), float(whole), CONFIDENCE) if whole else None


def _f1(hits: float, actual: float, called: float) -> Interval:
    """Return F1 with its interval.

    F1 = 2 J / (1 + J), where J is the share of correct predictions among the images that have the class or were predicted as
    it. J has Wilson's interval: the indirect Wilson method of Lam, K. F. Y., Gopal, V., Qian, J. (2023), Confidence intervals
    for the F1 score: a comparison of four methods, arXiv:2309.14621.
    """
    union = float(actual + called - hits)
    jaccard = wilson_interval(float(hits) / union, union, CONFIDENCE)
    return Interval(*(2 * bound / (1 + bound) for bound in (jaccard.value, jaccard.low, jaccard.high)))
