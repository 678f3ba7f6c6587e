"""Test whether one model is better than another on the same images, or whether the difference may be chance."""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from scipy.special import bdtrc

from visiongate.comparison.paired_bootstrap import Resampling, pair_metric, paired_bootstrap
from visiongate.comparison.predictions import GroundTruth, UnlabeledPredictions
from visiongate.records.interval import number_groups
from visiongate.records.metrics import lower_is_better
from visiongate.settings.registry import Registry

MCNEMAR = "exact McNemar"


@dataclass(frozen=True, slots=True)
class Comparison:
    """How two models differ on the same images.

    Attributes:
        metric: The name of the metric.
        champion: Its value.
        challenger: Its value.
        difference: By how much the challenger is better; positive for a lower loss, too.
        low: Lower bound of the difference, one-sided at `registry.alpha`.
        high: Upper bound, one-sided at `registry.alpha`.
        p_value: One-sided, of so large a difference if the challenger is not better.
        test: The name of the test.
        images: Test images.
        units: Independent units: images, or groups of images.
        wins: Images that only the challenger predicts correctly.
        losses: Images that only the champion predicts correctly.
    """

    metric: str
    champion: float
    challenger: float
    difference: float
    low: float
    high: float
    p_value: float
    test: str
    images: int
    units: int
    wins: int
    losses: int


def compare(
    challenger: UnlabeledPredictions, champion: UnlabeledPredictions, truth: GroundTruth, settings: Registry
) -> Comparison:
    """Test whether the challenger is better by the metric of the settings.

    The p-value is for a single comparison: of many challengers on one test set, some win by chance.

    Args:
        challenger: Its predictions for N images.
        champion: Its predictions for the same images.
        truth: The labels and groups of the images.
        settings: Metric, test, level, samples and seed.

    Raises:
        ValueError: The predictions differ in length, or a bootstrap is required and all images are of one group.
    """
    if len(challenger.predicted) != len(champion.predicted):
        raise ValueError(f"{len(challenger.predicted)} and {len(champion.predicted)}: not the same images")
    correct, champion_correct = (each.predicted == truth.labels for each in (challenger, champion))
    wins = int(np.count_nonzero(correct & ~champion_correct))
    losses = int(np.count_nonzero(champion_correct & ~correct))
    if uses_mcnemar(truth, settings):
        right = int(np.count_nonzero(correct))
        return _compare_counts(right, (wins, losses), len(truth.labels), settings.alpha)
    return _compare_samples(challenger, champion, truth, (wins, losses), settings)


def uses_mcnemar(truth: GroundTruth, settings: Registry) -> bool:
    """Return whether the settings require McNemar's test, which is exact but needs accuracy and independent images."""
    grouped = any(group is not None for group in truth.groups)
    return settings.test == "mcnemar" or (
        settings.test == "auto" and settings.metric == "accuracy" and not grouped
    )


def mcnemar_p(wins: int, losses: int) -> float:
    """Return the p-value of the one-sided exact McNemar test for independent images.

    Under the null hypothesis the wins are binomial with probability 1/2.

    McNemar, Q. (1947), Note on the sampling error of the difference between correlated proportions or percentages,
    Psychometrika 12, 153-157; Fagerland, M. W., Lydersen, S., Laake, P. (2013), The McNemar test for binary matched-pairs
    data, BMC Medical Research Methodology 13:91 (the exact conditional test, which favors the champion).

    Args:
        wins: Images that only the challenger predicts correctly.
        losses: Images that only the champion predicts correctly.
    """
    return float(bdtrc(wins - 1, wins + losses, 0.5)) if wins + losses else 1.0


def difference_interval(wins: float, losses: float, draws: float, alpha: float) -> tuple[float, float]:
    """Return the bounds of the difference of two accuracies on the same images, each one-sided at ``alpha``.

    The interval has a width even if the two models never differ. Bonett, D. G., Price, R. M. (2012), Adjusted Wald confidence
    interval for a difference of binomial proportions based on paired data, J. Educational and Behavioral Statistics 37,
    479-488.

    Args:
        wins: Draws in which only the challenger is correct.
        losses: Draws in which only the champion is correct.
        draws: All draws.
        alpha: The probability of exceeding a bound.
    """
    gained, lost = (wins + 1) / (draws + 2), (losses + 1) / (draws + 2)
    center = gained - lost
    half = NormalDist().inv_cdf(1 - alpha) * ((gained + lost - center**2) / (draws + 2)) ** 0.5
    return max(-1.0, center - half), min(1.0, center + half)


def _compare_counts(right: int, counts: tuple[int, int], images: int, alpha: float) -> Comparison:
    wins, losses = counts
    low, high = difference_interval(wins, losses, images, alpha)
    return Comparison(
        metric="accuracy",
        champion=(right - wins + losses) / images,
        challenger=right / images,
        difference=(wins - losses) / images,
        low=low,
        high=high,
        p_value=mcnemar_p(wins, losses),
        test=MCNEMAR,
        images=images,
        units=images,
        wins=wins,
        losses=losses,
    )


def _compare_samples(
    challenger: UnlabeledPredictions,
    champion: UnlabeledPredictions,
    truth: GroundTruth,
    counts: tuple[int, int],
    settings: Registry,
) -> Comparison:
    numbers = number_groups(truth.groups)
    groups = int(numbers.max()) + 1
    pair = pair_metric(settings.metric, challenger, champion, truth.labels, numbers)
    result = paired_bootstrap(pair, Resampling(settings.samples, settings.seed, settings.alpha))
    lower = lower_is_better(settings.metric)
    low, high = (-result.high, -result.low) if lower else (result.low, result.high)
    if settings.metric == "accuracy":
        low, high = _widen((low, high), counts, (groups, len(numbers)), settings.alpha)
    difference = result.challenger - result.champion
    return Comparison(
        metric=settings.metric,
        champion=result.champion,
        challenger=result.challenger,
        difference=-difference if lower else difference,
        low=low,
        high=high,
        p_value=result.p_below if lower else result.p_above,
        test=f"paired bootstrap over {groups} {'images' if groups == len(numbers) else 'groups'}",
        images=len(numbers),
        units=groups,
        wins=counts[0],
        losses=counts[1],
    )


def _widen(
    bounds: tuple[float, float], counts: tuple[int, int], sizes: tuple[int, int], alpha: float
) -> tuple[float, float]:
    """Widen an interval of accuracy to that of as many independent draws: two equal models' bootstrap has no width."""
    groups, images = sizes
    wins, losses = (count * groups / images for count in counts)
    low, high = difference_interval(wins, losses, groups, alpha)
    return min(bounds[0], low), max(bounds[1], high)
