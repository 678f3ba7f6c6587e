"""How good a model's answers were, by the true classes that people gave, and how long they took.

All functions are pure functions of counts. Feedback has two kinds, which are never mixed into one headline:

- The service asks about a random sample of its answers. The feedback for these is *sampled*: it describes all answers, as
  far as those who were asked reply.
- All other feedback is *volunteered*. People report mistakes more often than they confirm answers, so that it describes the
  predictions with feedback, not all predictions.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Annotated, TypedDict

import numpy as np
from pydantic import Field

from visiongate.monitoring.calibration import BINS, Calibration, measure_calibration
from visiongate.monitoring.scores import ClassScores, Others, SampledScores, Scores
from visiongate.monitoring.tally import Cell, Floats, Tally, Voice
from visiongate.records.interval import Interval, wilson_interval

CONFIDENCE = 0.95
# Chooses feedback.
_Wanted = Callable[[Cell | Voice], bool]


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from the complete request to the answer."""

    mean: Annotated[float, Field(description="Of all predictions.")]
    p50: float
    p95: float
    p99: float
    predictions: Annotated[int, Field(description="The latest predictions, which the percentiles are of.")]


def score_feedback(tally: Tally, classes: Sequence[str]) -> Scores:
    """Return accuracy, precision, recall, F1 and calibration with their intervals at 95%, by all feedback.

    Args:
        tally: The predictions.
        classes: The classes of the model.
    """
    return Scores(**_score(tally, classes, lambda _: True))


def score_volunteered(tally: Tally, classes: Sequence[str]) -> Scores:
    """Return the scores by the feedback that nobody asked for; classes without feedback are left out."""
    scores = _score(tally, classes, lambda voice: not voice.asked)
    return Scores(**scores | {"classes": _with_feedback(scores["classes"])})


def score_sampled(tally: Tally, classes: Sequence[str], *, answers: bool = True) -> SampledScores:
    """Return the scores by the feedback that the service asked for; classes without feedback are left out.

    Args:
        tally: The predictions.
        classes: The classes of the model.
        answers: Whether the predictions were answers, not those of a shadow.
    """
    scores = _score(tally, classes, lambda voice: voice.asked)
    labeled, accuracy = scores["labeled"], scores["accuracy"]
    hits = 0.0 if accuracy is None else accuracy.value * labeled
    # Feedback may be stored for a prediction that was written after the counts were read.
    asked = max(tally.asked, labeled)
    known = answers and asked > 0
    return SampledScores(
        **scores | {"classes": _with_feedback(scores["classes"])},
        asked=asked if answers else None,
        response_rate=_share(labeled, asked) if known else None,
        worst=hits / asked if known else None,
        best=(hits + asked - labeled) / asked if known else None,
    )


class _Scores(TypedDict):
    labeled: int
    images: int
    accuracy: Interval | None
    macro_f1: Interval | None
    classes: tuple[ClassScores, ...]
    calibration: Calibration | None
    givers: int
    others: Others | None


@dataclass(frozen=True, slots=True)
class _Evidence:
    """Feedback that is scored.

    Attributes:
        cells: Its counts.
        confidence: Sums of confidences by cell.
        images: Different images.
        independent: How many independent labels each one is worth, at most 1: labels of the same image are not independent.
    """

    cells: Counter[Cell]
    confidence: Mapping[Cell, float]
    images: int
    independent: float


def _gather(tally: Tally, wanted: _Wanted) -> _Evidence:
    """Return the feedback of some voices. Repeated images lower its worth by Kish's effective sample size."""
    cells = Counter({cell: count for cell, count in tally.feedback.items() if wanted(cell)})
    repeats = [each for voice, each in tally.repeats.items() if wanted(voice)]
    labels, alone = cells.total(), max(0, cells.total() - sum(each.labels for each in repeats))
    squares = alone + sum(each.squares for each in repeats)
    images = alone + sum(each.images for each in repeats)
    return _Evidence(cells, tally.feedback_confidence, images, min(1.0, labels / squares) if squares else 1.0)


def _score(tally: Tally, classes: Sequence[str], wanted: _Wanted) -> _Scores:
    evidence = _gather(tally, wanted)
    scores = _score_classes(tally, classes, evidence)
    accuracy, macro_f1 = _summarize(evidence, scores)
    return {
        "labeled": evidence.cells.total(),
        "images": evidence.images,
        "accuracy": accuracy,
        "macro_f1": macro_f1,
        "classes": scores,
        "calibration": _calibrate(evidence),
        "givers": len(_count_givers(evidence.cells)),
        "others": _leave_out(tally, classes, wanted),
    }


def _score_classes(tally: Tally, classes: Sequence[str], evidence: _Evidence) -> tuple[ClassScores, ...]:
    (hits, actual, called), worth = _count(evidence.cells, classes), evidence.independent
    return tuple(
        ClassScores(
            name,
            tally.by_class.get(name, 0),
            int(actual[number]),
            _share(hits[number], called[number], worth),
            _share(hits[number], actual[number], worth),
            _f1(hits[number], actual[number], called[number], worth) if actual[number] else None,
        )
        for number, name in enumerate(classes)
    )


def _summarize(evidence: _Evidence, scores: Sequence[ClassScores]) -> tuple[Interval | None, Interval | None]:
    """Return accuracy and macro F1."""
    hits = sum(count for cell, count in evidence.cells.items() if cell.label == cell.predicted)
    f1s = [score.f1 for score in scores if score.f1 is not None]
    accuracy = _share(hits, evidence.cells.total(), evidence.independent)
    return accuracy, macro_interval(f1s) if f1s else None


def _calibrate(evidence: _Evidence) -> Calibration | None:
    labeled, correct, confidence = (np.zeros(BINS) for _ in range(3))
    for cell, count in evidence.cells.items():
        labeled[cell.bin] += count
        correct[cell.bin] += count * (cell.label == cell.predicted)
        confidence[cell.bin] += evidence.confidence.get(cell, 0.0)
    return measure_calibration(labeled, correct, confidence, CONFIDENCE, evidence.independent)


def _count_givers(feedback: Counter[Cell]) -> Counter[str]:
    givers: Counter[str] = Counter()
    for cell, count in feedback.items():
        if cell.giver is not None:
            givers[cell.giver] += count
    return givers


def _leave_out(tally: Tally, classes: Sequence[str], wanted: _Wanted) -> Others | None:
    """Return the scores without the most active giver."""
    givers = _count_givers(_gather(tally, wanted).cells)
    if not givers:
        return None
    # By name, if two gave equally much.
    giver, removed = min(givers.items(), key=lambda item: (-item[1], item[0]))
    rest = _gather(tally, lambda voice: wanted(voice) and voice.giver != giver)
    return Others(removed, rest.cells.total(), *_summarize(rest, _score_classes(tally, classes, rest)))


def _with_feedback(classes: Sequence[ClassScores]) -> tuple[ClassScores, ...]:
    return tuple(each for each in classes if each.labeled or each.precision is not None)


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


def measure_latency(tally: Tally, latencies: Floats | None = None) -> Latency | None:
    """Return mean and percentiles; None without predictions.

    Args:
        tally: The predictions.
        latencies: Of the latest of them; None for those of the tally.
    """
    latest = tally.latencies if latencies is None else latencies
    if not tally.predictions or not len(latest):
        return None
    p50, p95, p99 = np.percentile(latest, (50, 95, 99)).tolist()
    return Latency(tally.total_ms / tally.predictions, p50, p95, p99, len(latest))


def _count(feedback: Counter[Cell], classes: Sequence[str]) -> tuple[Floats, Floats, Floats]:
    """Return correct predictions, labels and predictions, K each, of those with feedback."""
    numbers = {name: number for number, name in enumerate(classes)}
    hits, actual, called = (np.zeros(len(classes)) for _ in range(3))
    for cell, count in feedback.items():
        actual[numbers[cell.label]] += count
        called[numbers[cell.predicted]] += count
        hits[numbers[cell.label]] += count * (cell.label == cell.predicted)
    return hits, actual, called


def _share(part: float, whole: float, independent: float = 1.0) -> Interval | None:
    return wilson_interval(float(part / whole), float(whole) * independent, CONFIDENCE) if whole else None


def _f1(hits: float, actual: float, called: float, independent: float) -> Interval:
    """Return F1 with its interval.

    F1 = 2 J / (1 + J), where J is the share of correct predictions among the images that have the class or were predicted as
    it. J has Wilson's interval: the indirect Wilson method of Lam, K. F. Y., Gopal, V., Qian, J. (2023), Confidence intervals
    for the F1 score: a comparison of four methods, arXiv:2309.14621.
    """
    union = float(actual + called - hits)
    jaccard = wilson_interval(float(hits) / union, union * independent, CONFIDENCE)
    return Interval(*(2 * bound / (1 + bound) for bound in (jaccard.value, jaccard.low, jaccard.high)))
