"""Is one classifier better than another, or only luckier? Both judged on the same images."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Correct = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Comparison:
    """How two classifiers differ on the same images."""

    images: int
    wins: int  # the challenger is right and the champion wrong
    losses: int  # the other way round
    p_value: float  # of as many wins, were both equally good


def compare(correct_challenger: Correct, correct_champion: Correct) -> Comparison:
    """Test whether the challenger is better, by the one-sided exact form of McNemar's test.

    Images that both get right or both get wrong say nothing of which is better. Were they equally good,
    each of the others would be a win with probability 1/2, so the wins follow a binomial distribution. The
    p-value holds for a single comparison: whoever tries many challengers on one test set must expect some
    to win by luck.

    McNemar, Q. (1947), Note on the sampling error of the difference between correlated proportions or
    percentages, Psychometrika 12, 153-157; Fagerland, M. W., Lydersen, S., Laake, P. (2013), The McNemar
    test for binary matched-pairs data: mid-p and asymptotic are better than exact conditional, BMC Medical
    Research Methodology 13:91 (the exact conditional test, which errs on the side of the champion).

    Args:
        correct_challenger: bool, N: whether it is right on each image.
        correct_champion: bool, N: the same images in the same order.

    Raises:
        ValueError: The two differ in length.
    """
    if correct_challenger.shape != correct_champion.shape:
        raise ValueError(f"{correct_challenger.shape} and {correct_champion.shape}: not the same images")
    wins = int(np.count_nonzero(correct_challenger & ~correct_champion))
    losses = int(np.count_nonzero(correct_champion & ~correct_challenger))
    return Comparison(len(correct_challenger), wins, losses, _binomial_tail(wins, wins + losses))


def _binomial_tail(wins: int, trials: int) -> float:
    """Return the probability of at least so many wins among so many fair draws."""
    from scipy.special import bdtrc  # noqa: PLC0415 - wanted only where there is a champion

    return float(bdtrc(wins - 1, trials, 0.5)) if trials else 1.0
