"""The performance of the models over the last hours, read from the prediction log."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, NamedTuple, Self

from pydantic import BaseModel, Field

from visiongate.monitoring.performance import (
    CONFIDENCE,
    Latency,
    Scores,
    Tally,
    measure_latency,
    merge_tallies,
    score_feedback,
)
from visiongate.monitoring.prediction_log import PredictionLog
from visiongate.monitoring.times import to_datetime

if TYPE_CHECKING:
    from visiongate.monitoring.history import History, ModelHistory

NOTE = (
    "Accuracy, precision, recall and F1 are those of the predictions with feedback. People choose which predictions they give "
    "feedback for, and report mistakes more often than they confirm answers."
)
# How long a report is good for: a second, or ten times as long as it took, so that a watched page needs little of a core.
FRESH_SECONDS, FRESH_FACTOR = 1.0, 10.0
MAX_REPORTS = 32


class Performance(BaseModel):
    """Predictions of a time window, and how good they were."""

    predictions: int
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
    latency_ms: Latency | None
    feedback: Scores

    @classmethod
    def of(cls, tally: Tally, classes: Sequence[str], **further: object) -> Self:
        """Return the performance of predictions.

        Args:
            tally: The predictions.
            classes: That they can have.
            further: Members of a subclass.
        """
        return cls.model_validate(
            {
                "predictions": tally.predictions,
                "first": to_datetime(tally.first_us),
                "last": to_datetime(tally.last_us),
                "confidence": _divide(tally.confidence, tally.predictions),
                "sure": _divide(tally.sure, tally.sure_known),
                "out_of_distribution": _divide(tally.unlike, tally.unlike_known),
                "latency_ms": measure_latency(tally),
                "feedback": score_feedback(tally, classes),
                **further,
            }
        )


class ModelPerformance(Performance):
    """The performance of a version of a model."""

    name: str
    version: Annotated[str | None, Field(description="Null for a file.")]
    sha256: Annotated[str, Field(description="Of the model's file.")]
    shadow: Annotated[
        bool, Field(description="Whether its predictions were made beside the answers, for comparison.")
    ]


class HourCount(BaseModel):
    """The answered predictions of an hour."""

    hour: Annotated[datetime, Field(description="Its start, in UTC.")]
    predictions: int


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
    by_hour: Annotated[list[HourCount], Field(description="Hours without predictions are missing.")]
    log: LogState


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
        report = _make_report(since, until, history, self._state())
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


def _make_report(since: datetime, until: datetime, history: "History", state: LogState) -> PerformanceReport:
    answers = [each for each in history.models if not each.shadow]
    shadows = [each for each in history.models if each.shadow]
    classes = list(dict.fromkeys(name for each in answers for name in each.model.classes))
    return PerformanceReport(
        since=since,
        until=until,
        all=Performance.of(merge_tallies(each.tally for each in answers), classes),
        models=[_describe(each) for each in answers + shadows],
        by_hour=[
            HourCount(hour=to_datetime(start), predictions=count) for start, count in history.by_hour.items()
        ],
        log=state,
    )


def _describe(history: "ModelHistory") -> ModelPerformance:
    model, tally = history.model, history.tally
    return ModelPerformance.of(
        tally,
        model.classes,
        name=model.name,
        version=model.version,
        sha256=model.sha256,
        shadow=history.shadow,
    )


def _divide(part: float, whole: int) -> float | None:
    return part / whole if whole else None
