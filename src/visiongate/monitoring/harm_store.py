"""The votes about a version's answers in a prediction log, read without a running service."""

from typing import TYPE_CHECKING

from visiongate.errors import DataError, SettingsError
from visiongate.monitoring.address import check_address
from visiongate.monitoring.faults import explain_fault
from visiongate.monitoring.votes import Vote

if TYPE_CHECKING:
    from sqlalchemy import Engine


def read_votes(engine: "Engine", sha256: str) -> list[Vote]:
    """Return the true classes of a version's answers that were asked for, in the order in which they arrived.

    Args:
        engine: Of the database.
        sha256: Of the version's file.

    Raises:
        SQLAlchemyError: The database cannot be read.
    """
    # They import SQLAlchemy, which takes a moment.
    from sqlalchemy import and_, select  # noqa: PLC0415

    from visiongate.monitoring.tables import feedback, models, predictions  # noqa: PLC0415

    numbers = select(models.c.model_id).where(models.c.sha256 == sha256)
    answered = and_(predictions.c.model_id.in_(numbers), predictions.c.shadow_of.is_(None))
    labeled = (
        select(feedback, predictions.c.image_sha256, predictions.c.predicted)
        .select_from(predictions.join(feedback, feedback.c.prediction_id == predictions.c.prediction_id))
        .where(answered, feedback.c.asked)
        .order_by(feedback.c.time_us, feedback.c.prediction_id)
    )
    with engine.connect() as connection:
        return [
            Vote(row.image_sha256, row.given_by, None, row.predicted == row.label, row.time_us)
            for row in connection.execute(labeled)
        ]


def read_votes_at(address: str, sha256: str) -> list[Vote]:
    """Return the votes as `read_votes`, from the database at an address.

    Args:
        address: As SQLAlchemy writes it. The message of an error does not have it, because it may contain a password.
        sha256: Of the version's file.

    Raises:
        DataError: The database cannot be read, or its driver is not installed.
        SettingsError: The address is invalid, or its file is missing.
    """
    check_address(address)
    try:
        from visiongate.monitoring.database import open_engine  # noqa: PLC0415 - as in `read_votes`

        engine = open_engine(address)
        try:
            return read_votes(engine, sha256)
        finally:
            engine.dispose()
    except SettingsError:
        raise
    # The drivers' errors have no common base class.
    except Exception as error:
        raise DataError(
            f"prediction log: cannot be read ({type(error).__name__}: {explain_fault(error)}); check the address and the "
            "rights of its user"
        ) from error
