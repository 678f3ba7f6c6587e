"""What the prediction log has about challengers: their predictions beside the champion's, failures, and votes."""

from typing import Any, Final

import numpy as np
from pydantic import ValidationError
from sqlalchemy import Connection, Engine, Integer, and_, cast, func, or_, select

from visiongate.monitoring.decisions import read_decisions
from visiongate.monitoring.history import MAX_LATENCIES, read_models
from visiongate.monitoring.rollout import Exposure, RolloutEvidence
from visiongate.monitoring.rollout_report import RolloutModel, RolloutReport
from visiongate.monitoring.tables import failures, feedback, models, predictions
from visiongate.monitoring.times import MINUTE_US, latest_us
from visiongate.monitoring.votes import Vote

# Of a service at the registry, until a promotion is noticed and the version loaded.
LOOKS: Final = 3
# The place of the first one in an id of `new_prediction_id`.
_RANDOM_DIGITS: Final = 20
# The answer, and what the shadow predicted beside it.
_ANSWER, _BESIDE = predictions.alias("answer"), predictions.alias("beside")


def read_rollouts(engine: Engine, since_us: int) -> list[RolloutEvidence]:
    """Return the evidence about the challengers that predicted since a time, with all that they did before.

    Predictions of a clock that was ahead do not count.

    Args:
        engine: Of the database.
        since_us: Microseconds since 1970.

    Raises:
        SQLAlchemyError: The database cannot be read.
    """
    with engine.connect() as connection:
        known = read_models(connection)
        found = [_read_shadow(connection, known, since_us), _read_canary(connection, known, since_us)]
    return [evidence for evidence in found if evidence is not None]


def _read_shadow(connection: Connection, known: dict[int, Any], since_us: int) -> RolloutEvidence | None:
    pairs = _BESIDE.join(_ANSWER, _BESIDE.c.shadow_of == _ANSWER.c.prediction_id)
    both = (_BESIDE.c.model_id, _ANSWER.c.model_id)
    recent = _BESIDE.c.time_us.between(since_us, latest_us())
    latest = select(*both).select_from(pairs).where(recent, is_active(_ANSWER))
    numbers = connection.execute(latest.order_by(_BESIDE.c.time_us.desc()).limit(1)).one_or_none()
    if numbers is None or numbers[0] == numbers[1]:
        return None
    challenger, champion = numbers
    of_both = and_(both[0] == challenger, both[1] == champion, _BESIDE.c.time_us <= latest_us())
    agree = cast(_BESIDE.c.predicted == _ANSWER.c.predicted, Integer)
    # An answer is a moment older than the prediction beside it.
    first = (func.min(_BESIDE.c.time_us), func.min(_ANSWER.c.time_us))
    times = (*first, func.max(_BESIDE.c.time_us), func.sum(agree))
    first_us, answered_us, last_us, agreeing = connection.execute(
        select(*times).select_from(pairs).where(of_both)
    ).one()
    labeled = (
        select(feedback, _ANSWER.c.image_sha256, *_predicted(_BESIDE, _ANSWER))
        .select_from(pairs.join(feedback, feedback.c.prediction_id == _ANSWER.c.prediction_id))
        .where(of_both)
        .order_by(feedback.c.time_us, feedback.c.prediction_id)
    )
    rows = connection.execute(labeled).all()
    return RolloutEvidence(
        stage="shadow",
        challenger=known[challenger],
        champion=known[champion],
        challenger_did=_read_exposure(connection, challenger, "shadow", first_us),
        champion_did=_read_exposure(connection, champion, "active", answered_us),
        first_us=first_us,
        last_us=last_us,
        agreeing=agreeing,
        votes=[_vote(row) for row in rows if row.asked],
        volunteered=sum(not row.asked for row in rows),
    )


def _read_canary(connection: Connection, known: dict[int, Any], since_us: int) -> RolloutEvidence | None:
    is_canary = predictions.c.role == "canary"
    challenger = _find_latest(connection, and_(is_canary, predictions.c.time_us >= since_us))
    if challenger is None:
        return None
    # A canary has the classes of the champion that it answers for, and the service may have other models.
    same = select(models.c.classes).where(models.c.model_id == challenger).scalar_subquery()
    alike = select(models.c.model_id).where(models.c.classes == same)
    champion = _find_latest(connection, and_(is_active(predictions), predictions.c.model_id.in_(alike)))
    if champion in {None, challenger}:
        return None
    starts = {
        role: select(func.min(predictions.c.time_us)).where(_has_role(number, role))
        for number, role in ((challenger, "canary"), (champion, "active"))
    }
    first_us = max(connection.scalars(each).one() for each in starts.values())
    last = select(func.max(predictions.c.time_us)).where(_has_role(challenger, "canary"))
    answered = or_(_has_role(challenger, "canary"), _has_role(champion, "active"))
    is_challenger = predictions.c.model_id == challenger
    labeled = (
        select(
            feedback,
            predictions.c.image_sha256,
            predictions.c.predicted,
            is_challenger.label("is_challenger"),
        )
        .select_from(predictions.join(feedback, feedback.c.prediction_id == predictions.c.prediction_id))
        .where(answered, predictions.c.time_us >= first_us)
        .order_by(feedback.c.time_us, feedback.c.prediction_id)
    )
    rows = connection.execute(labeled).all()
    return RolloutEvidence(
        stage="canary",
        challenger=known[challenger],
        champion=known[champion],
        challenger_did=_read_exposure(connection, challenger, "canary", first_us),
        champion_did=_read_exposure(connection, champion, "active", first_us),
        first_us=first_us,
        last_us=connection.scalars(last).one(),
        votes=[_vote_of_arm(row) for row in rows if row.asked],
        volunteered=sum(not row.asked for row in rows),
    )


def _read_exposure(connection: Connection, number: Any, role: str, first_us: int) -> Exposure:  # noqa: ANN401
    selected = and_(_has_role(number, role), predictions.c.time_us >= first_us)
    counted = select(func.count(), func.sum(predictions.c.confidence)).where(selected)
    made, confidence = connection.execute(counted).one()
    failed = select(func.sum(failures.c.count)).where(
        failures.c.model_id == number,
        failures.c.role == role,
        failures.c.time_us >= first_us - first_us % MINUTE_US,
    )
    # By the random digits of the ids. The latest ones of a busy champion would be of other days than those of its canary.
    drawn = func.substr(predictions.c.prediction_id, _RANDOM_DIGITS)
    latencies = connection.scalars(
        select(predictions.c.total_ms).where(selected).order_by(drawn).limit(MAX_LATENCIES)
    ).all()
    failed_images = int(connection.scalars(failed).one() or 0)
    return Exposure(made, failed_images, confidence or 0.0, np.array(latencies, np.float64))


def _find_latest(connection: Connection, selected: Any) -> int | None:  # noqa: ANN401 - an expression of SQL
    past = predictions.c.time_us <= latest_us()
    latest = select(predictions.c.model_id).where(selected, past).order_by(predictions.c.time_us.desc())
    return connection.scalar(latest.limit(1))


def find_promotion(engine: Engine, name: str | None = None) -> tuple[RolloutModel, int] | None:
    """Return the version that `visiongate rollout` made champion last, and when, in microseconds since 1970.

    Args:
        engine: Of the database.
        name: Of the registered model; None for any.

    Raises:
        SQLAlchemyError: The database cannot be read.
    """
    for content in read_decisions(engine, "rollout"):
        try:
            report = RolloutReport.model_validate_json(content)
        except ValidationError:
            # Of another version of this program.
            continue
        if report.promoted is not None and name in {None, report.promoted.name}:
            return report.promoted, round(report.checked_at.timestamp() * 1e6)
    return None


def is_active(table: Any) -> Any:  # noqa: ANN401 - an expression of SQL
    """Return whether a prediction was the answer of the active version; those of older services have no role."""
    return and_(table.c.shadow_of.is_(None), or_(table.c.role.is_(None), table.c.role == "active"))


def _has_role(number: Any, role: str) -> Any:  # noqa: ANN401 - an expression of SQL
    of_role = {
        "active": is_active(predictions),
        "canary": predictions.c.role == role,
        "shadow": predictions.c.shadow_of.is_not(None),
    }[role]
    return and_(predictions.c.model_id == number, of_role, predictions.c.time_us <= latest_us())


def _predicted(challenger: Any, champion: Any) -> tuple[Any, Any]:  # noqa: ANN401 - aliases of the table
    return challenger.c.predicted.label("challenger"), champion.c.predicted.label("champion")


def _vote(row: Any) -> Vote:  # noqa: ANN401 - a row
    return Vote(row.image_sha256, row.given_by, row.challenger == row.label, row.champion == row.label)


def _vote_of_arm(row: Any) -> Vote:  # noqa: ANN401 - a row
    correct = row.predicted == row.label
    is_challenger = bool(row.is_challenger)
    return Vote(
        row.image_sha256,
        row.given_by,
        correct if is_challenger else None,
        None if is_challenger else correct,
    )
