"""The performance of the models over the last hours, read from the prediction log."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, Self

from pydantic import BaseModel, Field

from visiongate.monitoring.calibration import BINS
from visiongate.monitoring.performance import (
    CONFIDENCE,
    Latency,
    measure_latency,
    score_feedback,
    score_sampled,
    score_volunteered,
)
from visiongate.monitoring.prediction_log import PredictionLog
from visiongate.monitoring.scores import SampledScores, Scores
from visiongate.monitoring.tally import Tally, merge_tallies
from visiongate.monitoring.times import to_datetime
from visiongate.records.interval import Interval

if TYPE_CHECKING:
    from visiongate.monitoring.history import History, ModelHistory

NOTE = (
    "`sampled` is by the feedback that the service asked for, about a random sample of its answers: it describes all answers, "
    "as far as those who were asked reply, see `response_rate`. `volunteered` is by all other feedback: people report mistakes "
    "more often than they confirm answers, so that it describes the predictions with feedback, not all predictions. "
    "`feedback` is by both. Without API keys, nothing tells whether feedback is of many people or of one."
)
# How long a report is good for: a second, or ten times as long as it took, so that a watched page needs little of a core.
FRESH_SECONDS, FRESH_FACTOR = 1.0, 10.0
MAX_REPORTS = 32


class Performance(BaseModel):
    """Predictions of a time window, and how good they were."""

    predictions: int
    accuracy: Annotated[
        Interval | None,
        Field(
            description="That of `sampled` if it has feedback, otherwise that of `volunteered`; null without."
        ),
    ]
    accuracy_from: Annotated[
        Literal["sampled", "volunteered"] | None, Field(description="Which feedback `accuracy` is by.")
    ]
    first: Annotated[datetime | None, Field(description="Time of the first prediction of the window.")]
    last: Annotated[datetime | None, Field(description="Time of the last prediction.")]
    confidence: Annotated[float | None, Field(description="The mean confidence.")]
    sure: Annotated[
        float | None, Field(description="Share of predictions that are sure; null if the model cannot say.")
    ]
    out_of_distribution: Annotated[
        float | None,
        Field(description="Share of images unlike the training images; null if the model cannot say."),
    ]
    confidences: Annotated[
        list[int], Field(description=f"Predictions by confidence, in {BINS} bins of equal width from 0 to 1.")
    ]
    latency_ms: Latency | None
    sampled: Annotated[SampledScores, Field(description="By feedback that the service asked for.")]
    volunteered: Annotated[Scores, Field(description="By other feedback; classes without are missing.")]
    feedback: Annotated[Scores, Field(description="By all feedback.")]

    @classmethod
    def of(cls, tally: Tally, classes: Sequence[str], *, answers: bool = True, **further: object) -> Self:
        """Return the performance of predictions.

        Args:
            tally: The predictions.
            classes: That they can have.
            answers: Whether they were answers, not those of a shadow.
            further: Members of a subclass.
        """
        sampled = score_sampled(tally, classes, answers=answers)
        volunteered = score_volunteered(tally, classes)
        headline = sampled.accuracy or volunteered.accuracy
        source = "sampled" if sampled.accuracy else "volunteered"
        return cls.model_validate(
            {
                "predictions": tally.predictions,
                "accuracy": headline,
                "accuracy_from": source if headline else None,
                "first": to_datetime(tally.first_us),
                "last": to_datetime(tally.last_us),
                "confidence": _divide(tally.confidence, tally.predictions),
                "sure": _divide(tally.sure, tally.sure_known),
                "out_of_distribution": _divide(tally.unlike, tally.unlike_known),
                "confidences": [tally.confidences[number] for number in range(BINS)],
                "latency_ms": measure_latency(tally),
                "sampled": sampled,
                "volunteered": volunteered,
                "feedback": score_feedback(tally, classes),
                **further,
            }
        )


class HourCount(BaseModel):
    """The predictions of an hour."""

    hour: Annotated[datetime, Field(description="Its start, in UTC.")]
    predictions: int


class ModelPerformance(Performance):
    """The performance of a version of a model."""

    name: str
    version: Annotated[str | None, Field(description="Null for a file.")]
    sha256: Annotated[str, Field(description="Of the model's file.")]
    shadow: Annotated[
        bool, Field(description="Whether its predictions were made beside the answers, for comparison.")
    ]
    roles: Annotated[
        dict[str, int], Field(description="Predictions by the role of the version: active, canary or shadow.")
    ]
    by_hour: Annotated[list[HourCount], Field(description="Hours without predictions are missing.")]


class LogState(BaseModel):
    """Whether predictions are being recorded."""

    recording: Annotated[bool, Field(description="Whether the database could be written the last time.")]
    waiting: Annotated[int, Field(description="Predictions that wait to be written.")]
    dropped: Annotated[
        dict[str, int],
        Field(description="Predictions that were not recorded since the start of the service, by reason."),
    ]


class PerformanceReport(BaseModel):
    """The performance of the models over the last hours."""

    since: datetime
    until: datetime
    confidence_level: Annotated[float, Field(description="Of the intervals.")] = CONFIDENCE
    note: str = NOTE
    all: Annotated[Performance, Field(description="All answers, without the predictions of shadows.")]
    models: Annotated[
        list[ModelPerformance], Field(description="The latest used first; those of shadows are the last.")
    ]
    by_hour: Annotated[
        list[HourCount], Field(description="Answers of all versions; hours without are missing.")
    ]
    log: Annotated[LogState | None, Field(description="Null if no service made the report.")]


class Question(NamedTuple):
    """What a report is about.

    Attributes:
        hours: How far it looks back.
        name: Of the models; None for all.
        version: Of the models; None for all.
    """

    hours: int
    name: str | None = None
    version: str | None = None


class Reporter:
    """Makes reports, and remembers them for a short time."""

    def __init__(self, log: PredictionLog) -> None:
        """Read from a log."""
        self._log = log
        self._reports: dict[Question, tuple[float, PerformanceReport]] = {}

    def recall(self, question: Question) -> PerformanceReport | None:
        """Return a report that is recent enough; None if there is none."""
        until, report = self._reports.get(question, (0.0, None))
        return report if time.monotonic() < until else None

    def report(self, question: Question) -> PerformanceReport:
        """Make a report. Call it in a thread, one at a time: a million predictions take seconds.

        Raises:
            LogUnavailableError: The log cannot be read.
        """
        start, until = time.monotonic(), datetime.now(UTC)
        since = until - timedelta(hours=question.hours)
        history = self._read(question, round(since.timestamp() * 1e6))
        report = make_report(since, until, history, self._state())
        end = time.monotonic()
        while len(self._reports) >= MAX_REPORTS:
            del self._reports[next(iter(self._reports))]
        self._reports[question] = (end + max(FRESH_SECONDS, FRESH_FACTOR * (end - start)), report)
        return report

    def _read(self, question: Question, since_us: int) -> "History":
        # Needs SQLAlchemy, which the log imports in its own thread.
        from visiongate.monitoring.history import read_history  # noqa: PLC0415

        return self._log.read(lambda engine: read_history(engine, since_us, question.name, question.version))

    def _state(self) -> LogState:
        log = self._log
        return LogState(recording=log.fault is None, waiting=log.waiting, dropped=dict(log.dropped))


def make_report(
    since: datetime, until: datetime, history: "History", state: LogState | None = None
) -> PerformanceReport:
    """Return the report on what was predicted.

    Args:
        since: Start of the time window.
        until: Its end.
        history: The predictions.
        state: Of the log; None without a service.
    """
    answers = [each for each in history.models if not each.shadow]
    shadows = [each for each in history.models if each.shadow]
    classes = list(dict.fromkeys(name for each in answers for name in each.model.classes))
    hours: Counter[int] = Counter()
    for each in answers:
        hours.update(each.by_hour)
    return PerformanceReport(
        since=since,
        until=until,
        all=Performance.of(merge_tallies(each.tally for each in answers), classes),
        models=[_describe(each) for each in answers + shadows],
        by_hour=_list_hours(hours),
        log=state,
    )


def _describe(history: "ModelHistory") -> ModelPerformance:
    model, tally = history.model, history.tally
    return ModelPerformance.of(
        tally,
        model.classes,
        answers=not history.shadow,
        name=model.name,
        version=model.version,
        sha256=model.sha256,
        shadow=history.shadow,
        latency_ms=measure_latency(tally, history.latencies),
        roles=dict(tally.roles),
        by_hour=_list_hours(history.by_hour),
    )


def _list_hours(hours: Mapping[int, int]) -> list[HourCount]:
    return [HourCount(hour=to_datetime(start), predictions=hours[start]) for start in sorted(hours)]


def _divide(part: float, whole: int) -> float | None:
    return part / whole if whole else None
