"""The feedback in a prediction log as answers about images, and what is forgotten of an image on request."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Engine, delete, func, select, update

from visiongate.monitoring.drift.sample import Sample
from visiongate.monitoring.opinions import Answer
from visiongate.monitoring.tables import feedback, first_predictions, models, predictions


@dataclass(frozen=True, slots=True)
class Feedbacks:
    """What people said.

    Attributes:
        answers: About images that were sent as files.
        without_file: Number of answers about predictions whose image is not recorded, such as that of a tensor.
    """

    answers: list[Answer]
    without_file: int


def read_feedback(engine: Engine, since_us: int = 0) -> Feedbacks:
    """Return the answers about each image that somebody told about since a time, with the earlier ones about it.

    Args:
        engine: Of the database.
        since_us: Microseconds since 1970.

    Raises:
        SQLAlchemyError: The database cannot be read.
    """
    answered = feedback.join(predictions, predictions.c.prediction_id == feedback.c.prediction_id)
    recent = select(predictions.c.image_sha256).select_from(answered).where(feedback.c.time_us >= since_us)
    rows = (
        select(
            feedback,
            predictions.c.image_sha256,
            predictions.c.predicted,
            predictions.c.confidence,
            predictions.c.out_of_distribution,
            predictions.c.probabilities,
            models.c.name,
            models.c.version,
            models.c.classes,
        )
        .select_from(answered.join(models, models.c.model_id == predictions.c.model_id))
        .where(predictions.c.image_sha256.in_(recent))
        .order_by(feedback.c.time_us, feedback.c.prediction_id)
    )
    unknown = select(func.count()).select_from(answered)
    with engine.connect() as connection:
        answers = [_to_answer(row) for row in connection.execute(rows)]
        without = unknown.where(predictions.c.image_sha256.is_(None), feedback.c.time_us >= since_us)
        return Feedbacks(answers, connection.scalar(without) or 0)


def _to_answer(row: Any) -> Answer:  # noqa: ANN401 - a row has no type
    classes: list[str] = json.loads(row.classes)
    return Answer(
        prediction_id=row.prediction_id,
        sha256=row.image_sha256,
        label=row.label,
        predicted=row.predicted,
        confidence=row.confidence,
        probability=_find_probability(row, classes),
        classes=len(classes),
        model=row.name,
        version=row.version,
        time_us=row.time_us,
        unlike=bool(row.out_of_distribution),
        asked=row.asked,
        given_by=row.given_by,
    )


def _find_probability(row: Any, classes: Sequence[str]) -> float:  # noqa: ANN401
    """Return the probability of the label; without a record, as if the other classes were equally probable."""
    if row.label == row.predicted:
        return float(row.confidence)
    if row.probabilities is None:
        return float((1 - row.confidence) / max(len(classes) - 1, 1))
    return float(np.frombuffer(row.probabilities, "<f4")[classes.index(row.label)])


def forget_image(engine: Engine, sha256: str) -> int:
    """Delete all predictions for an image, and the feedback on them; return how many predictions there were.

    Recorded first predictions are kept without those for the image.

    Raises:
        SQLAlchemyError: The database cannot be written.
        DataError: A row of first predictions is damaged; nothing was deleted.
    """
    ids = select(predictions.c.prediction_id).where(predictions.c.image_sha256 == sha256)
    with engine.begin() as connection:
        connection.execute(delete(feedback).where(feedback.c.prediction_id.in_(ids)))
        beside = predictions.c.shadow_of.in_(ids)
        of_image = predictions.c.image_sha256 == sha256
        deleted = connection.execute(delete(predictions).where(of_image | beside)).rowcount
        for number, content in connection.execute(
            select(first_predictions.c.model_id, first_predictions.c.content)
        ).all():
            sample = Sample.decode(content)
            others = sample.image != sha256
            if not others.all():
                row = update(first_predictions).where(first_predictions.c.model_id == number)
                connection.execute(row.values(content=sample.take(others).encode()))
    return deleted
