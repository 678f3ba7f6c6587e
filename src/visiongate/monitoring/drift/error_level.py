"""How likely a check may alarm falsely: a level for a year, spent by looks, and shared by the tests of a look."""

from collections.abc import Sequence
from typing import Final

YEAR_HOURS: Final = 365.25 * 24


def spend(yearly_level: float, window_hours: float, hours_since: float | None) -> float:
    """Return the level of a look: the part of the yearly level for the time since the look before.

    The sum of the levels of all looks of a year is the yearly level, however often somebody looks, and so is at most the
    probability of a false alarm (Boole's inequality), also if windows overlap or are compared with one reference. A time
    beyond the window is not spent, because the look does not see it. A look spends the yearly level at most.

    Args:
        yearly_level: Of a year.
        window_hours: How far the look looks back.
        hours_since: Since the look before; None for the first one.
    """
    hours = window_hours if hours_since is None else min(max(0.0, hours_since), window_hours)
    return yearly_level * min(1.0, hours / YEAR_HOURS)


def adjust_by_holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values that may be compared with one level for all tests together.

    Holm, S. (1979), A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6, 65-70.
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted
