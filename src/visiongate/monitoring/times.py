"""The times of the prediction log: whole microseconds since 1970, which every database has."""

import time
from datetime import UTC, datetime
from typing import Final

MINUTE_US: Final = 60_000_000
HOUR_US: Final = 3_600_000_000
DAY_US: Final = 24 * HOUR_US
WEEK_US: Final = 7 * DAY_US


def now_us() -> int:
    """Return the current time."""
    return time.time_ns() // 1000


def to_datetime(time_us: int | None) -> datetime | None:
    """Return a time as people and JSON have it; None if there is none."""
    return None if time_us is None else datetime.fromtimestamp(time_us / 1e6, UTC)
