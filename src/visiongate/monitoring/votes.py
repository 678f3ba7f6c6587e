"""True classes that were asked for, as votes about versions: one vote an image, and no verdict that hangs on one voter.

Only answers to the service's question count. Who volunteers feedback has seen the champion's answer and corrects mistakes, so
that among volunteered labels the champion is worse than it is.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from visiongate.monitoring.sequential import Floats, confidence_sequence, count_values, match_arms
from visiongate.records.interval import Interval


@dataclass(frozen=True, slots=True)
class Vote:
    """The true class of an image, and what it says about versions.

    Attributes:
        image: The sha256 of the file; None if no file was sent.
        given_by: The name of the API key; None without keys.
        challenger: Whether the challenger was correct; None if it did not predict the image.
        champion: The same of the champion.
        time_us: When the class was told, in microseconds since 1970.
    """

    image: str | None
    given_by: str | None
    challenger: bool | None
    champion: bool | None
    time_us: int = 0


def keep_first_of_image(votes: Sequence[Vote]) -> list[Vote]:
    """Return the first vote about each image: who sends one image a hundred times has one vote."""
    seen: set[str] = set()
    kept = []
    for vote in votes:
        if vote.image is None or vote.image not in seen:
            kept.append(vote)
        if vote.image is not None:
            seen.add(vote.image)
    return kept


def bound_difference(votes: Sequence[Vote], level: float, *, one_giver_decides: bool) -> Interval:
    """Return the challenger's accuracy less the champion's, with bounds that hold at all looks.

    Unless one voter may decide, the bounds also contain those without the most active voter, if there are several voters.

    Args:
        votes: In the order in which they arrived. Either all are about both versions, or each is about one.
        level: Probability that the bounds ever miss the difference.
        one_giver_decides: Whether one voter may decide.
    """
    bounds = _bound(votes, level)
    if one_giver_decides:
        return bounds
    others = _bound(leave_out_most_active(votes), level)
    return Interval(bounds.value, min(bounds.low, others.low), max(bounds.high, others.high))


def leave_out_most_active(votes: Sequence[Vote]) -> Sequence[Vote]:
    """Return the votes without those of the most active voter; all of them, if there are not several voters."""
    givers = count_givers(votes)
    if len(givers) < 2:  # noqa: PLR2004
        return votes
    [(most_active, _)] = givers.most_common(1)
    return [vote for vote in votes if vote.given_by != most_active]


def count_givers(votes: Sequence[Vote]) -> Counter[str]:
    """Return how many votes each voter gave; those without a key are not known apart, and left out."""
    return Counter(vote.given_by for vote in votes if vote.given_by is not None)


def count_wins(votes: Sequence[Vote]) -> tuple[int, int]:
    """Return how many images only the challenger predicted correctly, and how many only the champion did."""
    pairs = [(vote.challenger, vote.champion) for vote in votes]
    return pairs.count((True, False)), pairs.count((False, True))


def _bound(votes: Sequence[Vote], level: float) -> Interval:
    is_paired = all(vote.challenger is not None and vote.champion is not None for vote in votes)
    observe: Callable[[Sequence[Vote]], Floats] = _subtract if is_paired else _subtract_arms
    return confidence_sequence(*count_values(observe(votes)), level)


def _subtract(votes: Sequence[Vote]) -> Floats:
    return np.array([float(vote.challenger or 0) - float(vote.champion or 0) for vote in votes])


def _subtract_arms(votes: Sequence[Vote]) -> Floats:
    is_challenger = np.array([vote.challenger is not None for vote in votes], bool)
    correct = np.array([bool(vote.challenger or vote.champion) for vote in votes], bool)
    return match_arms(is_challenger, correct)
