"""The prediction log: what was answered, written behind the answers by one thread.

Nothing here makes an answer wait or fail. Predictions wait in a bounded queue. While the database is locked, absent, read-only
or full, the thread tries again with growing pauses; what no longer fits into the queue is dropped and counted.
"""

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from itertools import islice
from threading import Condition, Thread
from typing import TYPE_CHECKING, TypeVar

from visiongate.errors import VisiongateError
from visiongate.monitoring import watch
from visiongate.monitoring.address import check_address
from visiongate.monitoring.entries import (
    Failure,
    FailureKind,
    Feedback,
    FeedbackReceipt,
    LoggedModel,
    LoggedPrediction,
    LogUnavailableError,
    Role,
    UnknownPredictionError,
    age_seconds,
)
from visiongate.monitoring.faults import explain_fault
from visiongate.monitoring.reference_keeper import ReferenceKeeper
from visiongate.monitoring.times import MINUTE_US, now_us
from visiongate.settings.serving import PredictionLog as Settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from visiongate.monitoring.database import Database

# Predictions of one transaction. Longer ones would keep the interpreter from answering.
BATCH = 200
# How long predictions gather before they are written: one transaction instead of one for each.
GATHER_SECONDS = 0.2
# Before the second try to write, doubled with each further one up to the second number.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
PRUNE_SECONDS = 600.0
# How old a prediction may be that another replica has not written yet, with the difference of their clocks.
SECONDS_BETWEEN_REPLICAS = 2.0
# Between two times that failures are written.
FAILURE_SECONDS = 60.0
# Why a prediction was not recorded: the database is too slow, it cannot be written, it refuses the row, or the service ended.
DROP_REASONS = ("slow", "unavailable", "refused", "closed")

Result = TypeVar("Result")
logger = logging.getLogger(__name__)
_FeedbackItem = tuple[Feedback, Future[FeedbackReceipt]]
_Item = LoggedPrediction | _FeedbackItem


class PredictionLog:
    """Records predictions and feedback.

    Attributes:
        written: Predictions that were written.
        dropped: Predictions that were not, by reason (`DROP_REASONS`).
        watch: What the metrics show of the database.
    """

    def __init__(self, settings: Settings) -> None:
        """Prepare the log; `start` opens the database.

        Args:
            settings: Address, length of the queue, and retention.

        Raises:
            SettingsError: The address is invalid.
        """
        check_address(settings.address)
        self.written = 0
        self.dropped = dict.fromkeys(DROP_REASONS, 0)
        self.watch = watch.Watch(settings.window_hours)
        self._settings = settings
        self._queue: deque[_Item] = deque()
        # Guards all of the above, and wakes the thread.
        self._changed = Condition()
        self._failures: Counter[Failure] = Counter()
        self._references = ReferenceKeeper()
        self._urgent = self._closing = False
        self._fault: str | None = None
        self._database: Database | None = None
        self._prune_at = self._failures_at = 0.0
        self._seen_slow, self._lagging = 0, False
        self._thread = Thread(target=self._run, name="prediction-log", daemon=True)

    @property
    def waiting(self) -> int:
        """Predictions that are not yet written."""
        return len(self._queue)

    @property
    def fault(self) -> str | None:
        """Why the database cannot be used; None if it can, or was not yet opened."""
        return self._fault

    def start(self) -> None:
        """Start the thread that writes."""
        self._thread.start()

    @property
    def is_full(self) -> bool:
        """Whether the next prediction would be dropped."""
        return len(self._queue) >= self._settings.queue or self._closing

    def put(self, prediction: LoggedPrediction) -> None:
        """Record a prediction. Never waits for the database and never raises."""
        with self._changed:
            if self.is_full:
                self.dropped[self._reason()] += 1
                return
            self._queue.append(prediction)
            if len(self._queue) == 1:
                self._changed.notify()

    def count_failure(self, model: LoggedModel, role: Role, kind: FailureKind) -> None:
        """Count an image that a version could not answer. Never waits for the database and never raises."""
        failure = Failure(now_us() // MINUTE_US * MINUTE_US, model, role, kind)
        with self._changed:
            if failure in self._failures or len(self._failures) < self._settings.queue:
                self._failures[failure] += 1

    def keep_reference(self, model: LoggedModel, content: bytes) -> None:
        """Store the reference of a model as soon as the database can be written, and in each other database that follows.

        Args:
            model: The model.
            content: Of its ``reference.npz``, checked.
        """
        self._references.add(model, content)
        with self._changed:
            self._changed.notify()

    def record_feedback(self, feedback: Feedback) -> "Future[FeedbackReceipt]":
        """Record the true class of a prediction's image, after all predictions that were put before.

        The future's exception is an `UnknownPredictionError`, an `UnknownLabelError` or a `LogUnavailableError`.
        """
        future: Future[FeedbackReceipt] = Future()
        with self._changed:
            if self._fault is None and not self._closing and len(self._queue) < self._settings.queue:
                self._queue.append((feedback, future))
                self._urgent = True
                self._changed.notify()
                return future
        future.set_exception(LogUnavailableError(self._describe()))
        return future

    def read(self, query: "Callable[[Engine], Result]") -> Result:
        """Return the result of a query that only reads. Call it in a thread: it waits for the database.

        Raises:
            LogUnavailableError: The database is not open, or the query failed.
        """
        database = self._database
        if database is None:
            raise LogUnavailableError(self._describe())
        try:
            return query(database.engine)
        except Exception as error:
            raise LogUnavailableError(explain_fault(error)) from error

    def find_labeled_images(self) -> frozenset[str]:
        """Return the sha256 of the images that have feedback. Call it in a thread: it waits for the database.

        Raises:
            LogUnavailableError: The database is not open, or the query failed.
        """
        from visiongate.monitoring.database import read_labeled_images  # noqa: PLC0415 - as in `_open`

        return self.read(read_labeled_images)

    def close(self, seconds: float = 5.0) -> None:
        """Write what waits, for a limited time, and end the thread. Predictions that still wait then are dropped."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join(seconds)
        with self._changed:
            self._fail_feedback("the service ends")
            lost = len(self._queue)
            self.dropped["closed"] += lost
            self._queue.clear()
        if lost:
            logger.warning("prediction log: %d predictions were not recorded before the end", lost)

    def _reason(self) -> str:
        if self._closing:
            return "closed"
        return "slow" if self._fault is None else "unavailable"

    def _describe(self) -> str:
        if self._closing:
            return "the service ends"
        return self._fault or (
            "the database is not yet open" if self._database is None else "the database is too slow"
        )

    def _run(self) -> None:
        """Write until the log is closed."""
        pause = FIRST_PAUSE
        # Nothing at first: the database is opened before the first prediction, because statistics read it.
        items: Sequence[_Item] | None = ()
        while items is not None:
            try:
                self._write(items)
            except Exception as error:  # noqa: BLE001 - whatever a database or its driver raises must not end the thread
                if not self._stumble(error, pause):
                    break
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                pause = FIRST_PAUSE
            items = self._take()
        if self._database is not None:
            self._database.close()

    def _take(self) -> "Sequence[_Item] | None":
        """Wait for items and return the next ones, which stay in the queue; None when the log is closed and written."""
        with self._changed:
            # A database that failed is tried again, and the other work is done, without new predictions, too.
            if self._fault is None and self._changed.wait_for(
                lambda: self._queue or self._references or self._closing, watch.SECONDS
            ):
                self._changed.wait_for(self._is_pressing, GATHER_SECONDS)
            self._urgent = False
            waits = self._queue or self._failures or self._references
            return list(islice(self._queue, BATCH)) if waits or not self._closing else None

    def _is_pressing(self) -> bool:
        return self._urgent or self._closing or len(self._queue) >= BATCH

    def _write(self, items: "Sequence[_Item]") -> None:
        database = self._open()
        predictions = [item for item in items if isinstance(item, LoggedPrediction)]
        refused = database.write(predictions) if predictions else 0
        with self._changed:
            # Empty if the log was closed in the meantime.
            for _ in range(min(len(items), len(self._queue))):
                self._queue.popleft()
            self.dropped["refused"] += refused
            self.written += len(predictions) - refused
        self._answer(database, [item for item in items if not isinstance(item, LoggedPrediction)])
        self._report(refused)
        self._write_failures(database)
        self._references.store(database.write_reference)
        self._prune(database)
        self.watch.refresh(database.engine)

    def _open(self) -> "Database":
        """Return the database, opened if necessary."""
        # Importing SQLAlchemy takes 0.2 s, which the start of the service need not wait for.
        from visiongate.monitoring.database import Database  # noqa: PLC0415

        if self._database is not None and self._database.moved:
            self._database.close()
            self._database = None
        if self._database is None:
            self._database = Database(self._settings.address)
            self._references.start_again()
        elif self._fault is not None:
            # The server may have come back with another database.
            self._database.prepare_tables()
            self._references.start_again()
        return self._database

    def _answer(self, database: "Database", items: Sequence[_FeedbackItem]) -> None:
        """Store feedback and tell the result to who waits for it."""
        for feedback, future in items:
            if future.cancelled():
                continue
            try:
                receipt = database.record_feedback(feedback)
            except UnknownPredictionError as error:
                if not self._postpone(feedback, future):
                    _fail(future, error)
            except VisiongateError as error:
                _fail(future, error)
            except Exception as error:  # noqa: BLE001 - as in `_run`
                _fail(future, LogUnavailableError(explain_fault(error)))
            else:
                if future.set_running_or_notify_cancel():
                    future.set_result(receipt)

    def _postpone(self, feedback: Feedback, future: "Future[FeedbackReceipt]") -> bool:
        """Put feedback back if another replica may have made the prediction a moment ago, and not have written it yet."""
        if abs(age_seconds(feedback.prediction_id)) > SECONDS_BETWEEN_REPLICAS:
            return False
        with self._changed:
            if self._closing:
                return False
            self._queue.append((feedback, future))
        return True

    def _stumble(self, error: Exception, pause: float) -> bool:
        """Note that the database cannot be written, and wait; return whether to try again."""
        with self._changed:
            first, self._fault = self._fault is None, explain_fault(error)
            self._fail_feedback(self._fault)
        if first:
            logger.warning(
                "prediction log: %s; answers go on, and up to %d predictions wait (serving.log.address, serving.log.queue)",
                self._fault,
                self._settings.queue,
            )
        with self._changed:
            return not self._changed.wait_for(lambda: self._closing, pause)

    def _report(self, refused: int) -> None:
        """Log that the database can be written again, is too slow or no longer too slow, or refuses predictions."""
        with self._changed:
            recovered, self._fault = self._fault is not None, None
            slow = self.dropped["slow"] > self._seen_slow
            began, ended = slow and not self._lagging, self._lagging and not slow
            self._seen_slow, self._lagging = self.dropped["slow"], slow
        if recovered:
            logger.info(
                "prediction log: recording again; %d predictions were lost so far",
                self.dropped["unavailable"],
            )
        if began:
            logger.warning(
                "prediction log: the database is too slow; predictions are lost (serving.log.queue)"
            )
        if ended:
            logger.info(
                "prediction log: the database is fast enough again; %d predictions were lost so far",
                self._seen_slow,
            )
        if refused:
            logger.warning("prediction log: the database refused %d predictions", refused)

    def _write_failures(self, database: "Database") -> None:
        """Write the failures once a minute, and at the end."""
        with self._changed:
            if not self._failures or (time.monotonic() < self._failures_at and not self._closing):
                return
            counted = Counter(self._failures)
        database.write_failures(counted)
        with self._changed:
            self._failures -= counted
        self._failures_at = time.monotonic() + FAILURE_SECONDS

    def _prune(self, database: "Database") -> None:
        if time.monotonic() < self._prune_at:
            return
        # More may be left than one call deletes.
        from visiongate.monitoring.database import Retention  # noqa: PLC0415 - as in `_open`

        settings = self._settings
        limits = Retention(settings.days, settings.max_rows, settings.max_megabytes * 1_000_000)
        deleted = database.prune(limits)
        self._prune_at = time.monotonic() + (0 if deleted else PRUNE_SECONDS)

    def _fail_feedback(self, reason: str) -> None:
        """Fail the feedback that waits; its senders are told, and may send it again."""
        for item in list(self._queue):
            if not isinstance(item, LoggedPrediction):
                self._queue.remove(item)
                _fail(item[1], LogUnavailableError(reason))


def _fail(future: "Future[FeedbackReceipt]", error: VisiongateError) -> None:
    if future.set_running_or_notify_cancel():
        future.set_exception(error)
