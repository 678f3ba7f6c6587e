"""The feedback in a prediction log as answers about images, and what is forgotten of an image on request."""

from dataclasses import dataclass

from sqlalchemy import Engine, delete, func, select

from visiongate.monitoring.opinions import Answer
from visiongate.monitoring.tables import feedback, models, predictions


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
            models.c.name,
            models.c.version,
        )
        .select_from(answered.join(models, models.c.model_id == predictions.c.model_id))
        .where(predictions.c.image_sha256.in_(recent))
        .order_by(feedback.c.time_us, feedback.c.prediction_id)
    )
    unknown = select(func.count()).select_from(answered)
    with engine.connect() as connection:
        answers = [
            Answer(
                row.prediction_id,
                row.image_sha256,
                row.label,
                row.predicted,
                row.confidence,
                row.name,
                row.version,
                row.time_us,
                bool(row.out_of_distribution),
                row.asked,
                row.given_by,
            )
            for row in connection.execute(rows)
        ]
        without = unknown.where(predictions.c.image_sha256.is_(None), feedback.c.time_us >= since_us)
        return Feedbacks(answers, connection.scalar(without) or 0)


def forget_image(engine: Engine, sha256: str) -> int:
    """Delete all predictions for an image, and the feedback on them; return how many predictions there were.

    Raises:
        SQLAlchemyError: The database cannot be written.
    """
    ids = select(predictions.c.prediction_id).where(predictions.c.image_sha256 == sha256)
    with engine.begin() as connection:
        connection.execute(delete(feedback).where(feedback.c.prediction_id.in_(ids)))
        beside = predictions.c.shadow_of.in_(ids)
        of_image = predictions.c.image_sha256 == sha256
        return connection.execute(delete(predictions).where(of_image | beside)).rowcount
