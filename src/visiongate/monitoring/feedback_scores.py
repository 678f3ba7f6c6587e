"""The scores of a model by the feedback in a prediction log, read without a running service."""

from typing import TYPE_CHECKING

from visiongate.errors import DataError, SettingsError
from visiongate.monitoring.address import check_address
from visiongate.monitoring.faults import explain_fault
from visiongate.monitoring.performance import score_feedback
from visiongate.monitoring.scores import Scores
from visiongate.monitoring.tally import merge_tallies
from visiongate.monitoring.times import DAY_US, now_us

if TYPE_CHECKING:
    from visiongate.monitoring.history import History


def read_feedback_scores(address: str, sha256: str, days: int) -> Scores | None:
    """Return the scores of a model's answers of the last days; None if it gave no answer.

    Args:
        address: Of the database, as SQLAlchemy writes it. The message of an error does not have it, because it may contain a
            password.
        sha256: Of the model's file.
        days: How far to look back.

    Raises:
        DataError: The database cannot be read, or its driver is not installed.
        SettingsError: The address is invalid, or its file is missing.
    """
    check_address(address)
    try:
        history = _read(address, now_us() - days * DAY_US)
    except SettingsError:
        raise
    # The drivers' errors have no common base class.
    except Exception as error:
        raise DataError(
            f"prediction log: cannot be read ({type(error).__name__}: {explain_fault(error)}); check the address and the "
            "rights of its user"
        ) from error
    found = [each for each in history.models if each.model.sha256 == sha256 and not each.shadow]
    if not found:
        return None
    return score_feedback(merge_tallies(each.tally for each in found), found[0].model.classes)


def _read(address: str, since_us: int) -> "History":
    # They import SQLAlchemy, which takes a moment.
    from visiongate.monitoring.database import open_engine  # noqa: PLC0415
    from visiongate.monitoring.history import read_history  # noqa: PLC0415

    engine = open_engine(address)
    try:
        return read_history(engine, since_us, None, None)
    finally:
        engine.dispose()
