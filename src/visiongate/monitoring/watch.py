"""What the metrics show of the prediction log's database.

The thread of the log reads it now and then, so that a scrape never waits for a database, and many scrapes cost no more than
one.
"""

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from visiongate.monitoring.decision_report import LatestDecision
from visiongate.monitoring.entries import LoggedModel
from visiongate.monitoring.performance import score_sampled, score_volunteered
from visiongate.monitoring.times import HOUR_US, now_us
from visiongate.records.interval import Interval

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from visiongate.monitoring.drift.report import DriftState

# Between two looks, at least.
SECONDS: Final = 60.0
# How many times as long as a look the pause after it is: it takes at most 1% of the thread's time.
PAUSE_FACTOR: Final = 100.0
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FeedbackAccuracy:
    """The accuracy of a version's answers by one kind of feedback.

    Attributes:
        model: The version.
        source: Whether the service asked for the feedback.
        accuracy: With its interval at 95%.
        labels: The answers with feedback.
    """

    model: LoggedModel
    source: Literal["sampled", "volunteered"]
    accuracy: Interval
    labels: int


class Watch:
    """The latest drift check and decisions, and the accuracy by feedback over the last hours.

    Attributes:
        drift: None without a check.
        accuracies: Of the versions that have feedback.
        decisions: The latest one of each kind.
    """

    def __init__(self, hours: int) -> None:
        """Look back so many hours."""
        self.drift: DriftState | None = None
        self.accuracies: tuple[FeedbackAccuracy, ...] = ()
        self.decisions: tuple[LatestDecision, ...] = ()
        self._hours = hours
        self._next = 0.0

    def refresh(self, engine: "Engine") -> None:
        """Read the database, if it is time to.

        Raises:
            SQLAlchemyError: The database cannot be read.
        """
        start = time.monotonic()
        if start < self._next:
            return
        # Also if it fails: the log tries again.
        self._next = start + SECONDS
        self._read_drift(engine)
        self.decisions = read_decisions(engine)
        self.accuracies = read_accuracies(engine, now_us() - self._hours * HOUR_US)
        end = time.monotonic()
        self._next = end + max(SECONDS, PAUSE_FACTOR * (end - start))

    def _read_drift(self, engine: "Engine") -> None:
        from visiongate.monitoring.drift.store import read_latest_report  # noqa: PLC0415 - needs SQLAlchemy

        try:
            report = read_latest_report(engine)
        except ValueError:
            logger.warning(
                "prediction log: the latest drift check is of another version of visiongate; it is ignored"
            )
            return
        self.drift = None if report is None else report.state()


def read_decisions(engine: "Engine") -> tuple[LatestDecision, ...]:
    """Return the latest decision of each kind.

    Raises:
        SQLAlchemyError: The database cannot be read.
    """
    from visiongate.monitoring.decisions import read_latest_decisions  # noqa: PLC0415 - needs SQLAlchemy

    return read_latest_decisions(engine)


def read_accuracies(engine: "Engine", since_us: int) -> tuple[FeedbackAccuracy, ...]:
    """Return the accuracies of all versions with feedback since a time.

    Raises:
        SQLAlchemyError: The database cannot be read.
    """
    from visiongate.monitoring.history import read_feedback  # noqa: PLC0415 - needs SQLAlchemy

    found = []
    for model, tally in read_feedback(engine, since_us):
        sampled, volunteered = score_sampled(tally, model.classes), score_volunteered(tally, model.classes)
        if sampled.accuracy is not None:
            found.append(FeedbackAccuracy(model, "sampled", sampled.accuracy, sampled.labeled))
        if volunteered.accuracy is not None:
            found.append(FeedbackAccuracy(model, "volunteered", volunteered.accuracy, volunteered.labeled))
    return tuple(found)
