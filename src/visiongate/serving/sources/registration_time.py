"""When a version was registered. The time is a member of the version's lineage, so that it is kept wherever the lineage is."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from visiongate.records.served_model import ServedModel

REGISTERED_AT: Final = "registered_at"


def add_registration_time(model: ServedModel, milliseconds: object) -> ServedModel:
    """Return a version with the time of its registration.

    Args:
        model: The version.
        milliseconds: Since 1970, as MLflow states it; what is no positive number is left out.
    """
    with suppress(ValueError, OverflowError, OSError):
        if (seconds := int(str(milliseconds)) / 1000) > 0:
            time = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
            return replace(model, lineage={**model.lineage, REGISTERED_AT: time})
    return model


def read_registration_time(lineage: Mapping[str, object]) -> float | None:
    """Return the time of a version's registration in seconds since 1970; None if its lineage has none."""
    try:
        return datetime.fromisoformat(str(lineage[REGISTERED_AT])).timestamp()
    except (KeyError, ValueError):
        return None
