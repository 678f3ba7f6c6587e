"""The times of the prediction log: whole microseconds since 1970, which every database has."""

import time
from datetime import UTC, datetime
from typing import Final

MINUTE_US: Final = 60_000_000
HOUR_US: Final = 3_600_000_000
DAY_US: Final = 24 * HOUR_US
WEEK_US: Final = 7 * DAY_US
# The clocks of machines differ by less. What is further in the future was recorded by a clock that was wrong.
AHEAD_US: Final = HOUR_US


def now_us() -> int:
    """Return the current time."""
    return time.time_ns() // 1000


def latest_us() -> int:
    """Return the latest time that is believed: now, and what another machine's clock may be ahead."""
    return now_us() + AHEAD_US


def to_datetime(time_us: int | None) -> datetime | None:
    """Return a time as people and JSON have it; None if there is none."""
    return None if time_us is None else datetime.fromtimestamp(time_us / 1e6, UTC)
