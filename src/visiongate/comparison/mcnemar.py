"""McNemar's test: is one classifier right more often than another on the same images, or only luckier?"""

from statistics import NormalDist


def mcnemar_p(wins: int, losses: int) -> float:
    """Return the p-value of the one-sided exact form of McNemar's test.

    Images that both get right or both get wrong say nothing of which is better. Were they equally good, each of the others
    would be a win with probability 1/2, so the wins follow a binomial distribution. It takes the images for independent.

    McNemar, Q. (1947), Note on the sampling error of the difference between correlated proportions or percentages,
    Psychometrika 12, 153-157; Fagerland, M. W., Lydersen, S., Laake, P. (2013), The McNemar test for binary matched-pairs
    data: mid-p and asymptotic are better than exact conditional, BMC Medical Research Methodology 13:91 (the exact
    conditional test, which errs on the side of the champion).

    Args:
        wins: Images that the challenger gets right and the champion wrong.
        losses: The other way round.
    """
    from scipy.special import bdtrc  # noqa: PLC0415 - wanted only where there is a champion

    return float(bdtrc(wins - 1, wins + losses, 0.5)) if wins + losses else 1.0


def difference_interval(wins: float, losses: float, draws: float, alpha: float) -> tuple[float, float]:
    """Bound the difference of two accuracies on the same images, each bound one-sided at ``alpha``.

    It keeps its width where the two never differ. Bonett, D. G., Price, R. M. (2012), Adjusted Wald confidence interval for
    a difference of binomial proportions based on paired data, J. Educational and Behavioral Statistics 37, 479-488.

    Args:
        wins: Draws in which the challenger alone is right.
        losses: Draws in which the champion alone is right.
        draws: All of them.
        alpha: How often a bound may be passed.
    """
    gained, lost = (wins + 1) / (draws + 2), (losses + 1) / (draws + 2)
    center = gained - lost
    half = NormalDist().inv_cdf(1 - alpha) * ((gained + lost - center**2) / (draws + 2)) ** 0.5
    return max(-1.0, center - half), min(1.0, center + half)
