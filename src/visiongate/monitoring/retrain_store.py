"""What the prediction log has about the champion: votes, its reference, the latest drift check, and new labels."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import Connection, Engine, and_, func, select

from visiongate.errors import DataError
from visiongate.monitoring.collection import read_feedback
from visiongate.monitoring.drift.advice import REPAIRABLE
from visiongate.monitoring.drift.store import read_earlier_report
from visiongate.monitoring.entries import LoggedModel
from visiongate.monitoring.harm_store import read_votes
from visiongate.monitoring.history import read_models
from visiongate.monitoring.opinions import Knowledge, weigh
from visiongate.monitoring.retrain_check import EstimatedHarm, RetrainEvidence
from visiongate.monitoring.rollout_report import RolloutModel
from visiongate.monitoring.rollout_store import LOOKS, find_promotion, is_active
from visiongate.monitoring.tables import drift_references, models, predictions
from visiongate.monitoring.times import latest_us
from visiongate.records.drift_reference import read_reference
from visiongate.records.interval import Interval, wilson_interval
from visiongate.settings.collecting import CollectRules

CONFIDENCE: Final = 0.95
# A drift check is out of date after so many of its windows.
WINDOWS: Final = 2


def read_retrain_evidence(
    engine: Engine,
    name: str | None,
    taken: Collection[str],
    rules: CollectRules,
    *,
    poll_seconds: float = 0.0,
) -> RetrainEvidence:
    """Return what the log has about the version that answers, or about the one that was promoted a moment ago.

    Args:
        engine: Of the database.
        name: Of the registered model; None for the model that answered last.
        taken: The sha256 of images whose labels were collected or corrected.
        rules: Which labels are doubted, and do not count.
        poll_seconds: How long a service may take to notice a promotion.

    Raises:
        SQLAlchemyError: The database cannot be read.
    """
    promotion = find_promotion(engine, name)
    with engine.connect() as connection:
        champion = _find_champion(connection, name, promotion, round(LOOKS * poll_seconds * 1e6))
        if champion is None:
            return RetrainEvidence(None, [], None, None, 0)
        reference = _read_reference(connection, champion)
    estimate = _read_estimate(engine, champion)
    votes = read_votes(engine, champion.sha256)
    start_us = _find_start(engine, champion)
    if start_us is None:
        return RetrainEvidence(champion, votes, reference, estimate, 0, answers=False)
    new_labels = _count_new_labels(engine, champion, start_us, taken, rules)
    return RetrainEvidence(champion, votes, reference, estimate, new_labels)


def _find_champion(
    connection: Connection, name: str | None, promotion: tuple[RolloutModel, int] | None, delay_us: int
) -> LoggedModel | None:
    """Return the version of the latest answer; what the version before a promotion answered until it was noticed is past."""
    known = read_models(connection)
    active = is_active(predictions) & (predictions.c.time_us <= latest_us())
    if name is not None:
        active &= predictions.c.model_id.in_(select(models.c.model_id).where(models.c.name == name))
    latest = select(predictions.c.model_id).order_by(predictions.c.time_us.desc()).limit(1)
    if promotion is not None:
        version, time_us = promotion
        promoted = [number for number, each in known.items() if each.sha256 == version.sha256]
        is_past = ~predictions.c.model_id.in_(promoted) & (predictions.c.time_us <= time_us + delay_us)
        number = connection.scalar(latest.where(active, ~is_past))
        if number is None and promoted:
            number = max(promoted)
    else:
        number = connection.scalar(latest.where(active))
    return None if number is None else known[number]


def _find_start(engine: Engine, champion: LoggedModel) -> int | None:
    """Return the time of the version's first answer; None if there is none."""
    numbers = select(models.c.model_id).where(models.c.sha256 == champion.sha256)
    answered = and_(is_active(predictions), predictions.c.model_id.in_(numbers))
    with engine.connect() as connection:
        first_us: int | None = connection.scalar(select(func.min(predictions.c.time_us)).where(answered))
    return first_us


def _read_reference(connection: Connection, champion: LoggedModel) -> Interval | None:
    """Return the accuracy on held-out images; None if the version has no reference, or one that cannot be read."""
    numbers = select(models.c.model_id).where(models.c.sha256 == champion.sha256)
    stored = select(drift_references.c.content).where(drift_references.c.model_id.in_(numbers)).limit(1)
    content = connection.scalar(stored)
    if content is None:
        return None
    try:
        reference = read_reference(content, champion.sha256)
    except DataError:
        return None
    return wilson_interval(reference.accuracy, reference.images, CONFIDENCE)


def _read_estimate(engine: Engine, champion: LoggedModel) -> EstimatedHarm | None:
    """Return what the latest drift check says about a version; None if it is out of date, or could not estimate."""
    report = read_earlier_report(engine)
    if report is None or datetime.now(UTC) - report.checked_at > WINDOWS * timedelta(hours=report.hours):
        return None
    found = next((model for model in report.models if model.sha256 == champion.sha256), None)
    if found is None or found.accuracy is None:
        return None
    accuracy = found.accuracy
    interval = Interval(accuracy.value, accuracy.low, accuracy.high)
    cause = next(iter(found.causes), None)
    blamed = cause if cause in REPAIRABLE else None
    repair = None if accuracy.reliable else blamed
    return EstimatedHarm(
        interval, accuracy.reference, found.harm in {"estimated", "measured"}, repair, blamed
    )


def _count_new_labels(
    engine: Engine, champion: LoggedModel, since_us: int, taken: Collection[str], rules: CollectRules
) -> int:
    """Return the images that the service kept, whose labels nothing speaks against, and that were not taken yet.

    Labels count from the champion's first answer: those before taught it, or were not enough. Without the tables of the
    repository, as in a cluster, nothing else says what was taken.
    """
    answers = [each for each in read_feedback(engine, since_us).answers if each.time_us >= since_us]
    opinions = weigh(answers, Knowledge(champion.classes, {}), rules)
    kept = select(predictions.c.image_sha256).where(predictions.c.kept).distinct()
    with engine.connect() as connection:
        available = set(connection.scalars(kept))
    undoubted = {sha256 for sha256, opinion in opinions.items() if opinion.doubt is None}
    return len(undoubted & available - set(taken))
