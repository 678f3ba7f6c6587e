"""What the prediction log has about the champion: votes, its reference, the latest drift check, and new labels."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Final

from pydantic import ValidationError
from sqlalchemy import Connection, Engine, and_, func, select

from visiongate.errors import DataError
from visiongate.monitoring.collection import read_feedback
from visiongate.monitoring.drift.advice import REPAIRABLE
from visiongate.monitoring.drift.store import read_latest_report
from visiongate.monitoring.entries import LoggedModel
from visiongate.monitoring.harm_store import read_votes
from visiongate.monitoring.history import read_models
from visiongate.monitoring.opinions import Knowledge, weigh
from visiongate.monitoring.retrain_check import EstimatedHarm, RetrainEvidence
from visiongate.monitoring.rollout_store import is_active
from visiongate.monitoring.tables import drift_references, models, predictions
from visiongate.monitoring.times import latest_us
from visiongate.records.drift_reference import read_reference
from visiongate.records.interval import Interval, wilson_interval
from visiongate.settings.collecting import CollectRules

CONFIDENCE: Final = 0.95
# A drift check is out of date after so many of its windows.
WINDOWS: Final = 2


def read_retrain_evidence(
    engine: Engine, name: str | None, taken: Collection[str], rules: CollectRules
) -> RetrainEvidence:
    """Return what the log has about the version that answers.

    Args:
        engine: Of the database.
        name: Of the registered model; None for the model that answered last.
        taken: The sha256 of images whose labels were collected or corrected.
        rules: Which labels are doubted, and do not count.

    Raises:
        SQLAlchemyError: The database cannot be read.
    """
    with engine.connect() as connection:
        champion = _find_champion(connection, name)
        if champion is None:
            return RetrainEvidence(None, [], None, None, 0)
        reference = _read_reference(connection, champion)
    estimate = _read_estimate(engine, champion)
    votes = read_votes(engine, champion.sha256)
    new_labels = _count_new_labels(engine, champion, taken, rules)
    return RetrainEvidence(champion, votes, reference, estimate, new_labels)


def _find_champion(connection: Connection, name: str | None) -> LoggedModel | None:
    active = is_active(predictions) & (predictions.c.time_us <= latest_us())
    if name is not None:
        active &= predictions.c.model_id.in_(select(models.c.model_id).where(models.c.name == name))
    latest = select(predictions.c.model_id).where(active).order_by(predictions.c.time_us.desc()).limit(1)
    number = connection.scalar(latest)
    return None if number is None else read_models(connection)[number]


def _find_start(engine: Engine, champion: LoggedModel) -> int:
    """Return the time of the version's first answer."""
    numbers = select(models.c.model_id).where(models.c.sha256 == champion.sha256)
    answered = and_(is_active(predictions), predictions.c.model_id.in_(numbers))
    with engine.connect() as connection:
        return connection.scalar(select(func.min(predictions.c.time_us)).where(answered)) or 0


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
    try:
        report = read_latest_report(engine)
    except ValidationError:
        # Of another version of this program.
        return None
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
    engine: Engine, champion: LoggedModel, taken: Collection[str], rules: CollectRules
) -> int:
    """Return the images that the service kept, whose labels nothing speaks against, and that were not taken yet.

    Labels count from the champion's first answer: those before taught it, or were not enough. Without the tables of the
    repository, as in a cluster, nothing else says what was taken.
    """
    since_us = _find_start(engine, champion)
    answers = [each for each in read_feedback(engine, since_us).answers if each.time_us >= since_us]
    opinions = weigh(answers, Knowledge(champion.classes, {}), rules)
    kept = select(predictions.c.image_sha256).where(predictions.c.kept).distinct()
    with engine.connect() as connection:
        available = set(connection.scalars(kept))
    undoubted = {sha256 for sha256, opinion in opinions.items() if opinion.doubt is None}
    return len(undoubted & available - set(taken))
