"""Is one classifier better than another, or only luckier? Both judged on the same images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from visiongate.comparison.answers import Answers
from visiongate.comparison.mcnemar import difference_interval, mcnemar_p
from visiongate.comparison.paired_bootstrap import Resampling, number_units, paired_bootstrap
from visiongate.comparison.paired_metrics import LOWER_IS_BETTER, Integers, pair_up
from visiongate.settings.schema import Registry

MCNEMAR = "exact McNemar"


@dataclass(frozen=True, slots=True)
class Exam:
    """What both are asked."""

    labels: Integers  # N
    groups: Sequence[str | None]  # N; images of one group (of a patient, say) are no independent witnesses


@dataclass(frozen=True, slots=True)
class Comparison:
    """How two classifiers differ on the same images."""

    metric: str
    champion: float
    challenger: float
    difference: float  # by how much the challenger is better: above 0 for a lower loss, too
    low: float  # of the difference; each bound is one-sided at `registry.alpha`
    high: float
    p_value: float  # one-sided, of as large a difference, were the challenger no better
    test: str
    images: int
    units: int  # what counts as independent: images, or groups of them
    wins: int  # images that the challenger gets right and the champion wrong
    losses: int  # the other way round


def compare(challenger: Answers, champion: Answers, exam: Exam, settings: Registry) -> Comparison:
    """Test whether the challenger is better by the metric of the settings.

    The p-value holds for a single comparison: whoever tries many challengers on one test set must expect some to win by
    luck.

    Args:
        challenger: Its answers to N images.
        champion: Its answers to the same images.
        exam: The truth about them.
        settings: Metric, test, level, samples and seed.

    Raises:
        ValueError: The two differ in length, or the bootstrap is asked for and all images are of one group.
    """
    if len(challenger.predicted) != len(champion.predicted):
        raise ValueError(f"{len(challenger.predicted)} and {len(champion.predicted)}: not the same images")
    wins, losses = _count_wins(challenger, champion, exam)
    if uses_mcnemar(exam, settings):
        return _compare_counts(challenger, exam, (wins, losses), settings.alpha)
    return _compare_samples(challenger, champion, exam, (wins, losses), settings)


def uses_mcnemar(exam: Exam, settings: Registry) -> bool:
    """Tell which test the settings mean: McNemar's is exact, but takes images for independent and knows accuracy alone."""
    grouped = any(group is not None for group in exam.groups)
    return settings.test == "mcnemar" or (
        settings.test == "auto" and settings.metric == "accuracy" and not grouped
    )


def _count_wins(challenger: Answers, champion: Answers, exam: Exam) -> tuple[int, int]:
    mine, theirs = (answers.predicted == exam.labels for answers in (challenger, champion))
    return int(np.count_nonzero(mine & ~theirs)), int(np.count_nonzero(theirs & ~mine))


def _compare_counts(challenger: Answers, exam: Exam, counts: tuple[int, int], alpha: float) -> Comparison:
    images = len(exam.labels)
    wins, losses = counts
    low, high = difference_interval(wins, losses, images, alpha)
    right = int(np.count_nonzero(challenger.predicted == exam.labels))
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
    challenger: Answers, champion: Answers, exam: Exam, counts: tuple[int, int], settings: Registry
) -> Comparison:
    unit = number_units(exam.groups)
    units = int(unit.max()) + 1
    pair = pair_up(settings.metric, challenger, champion, exam.labels, unit)
    found = paired_bootstrap(pair, Resampling(settings.samples, settings.seed, settings.alpha))
    lower = settings.metric in LOWER_IS_BETTER
    low, high = (-found.high, -found.low) if lower else (found.low, found.high)
    if settings.metric == "accuracy":
        low, high = _keep_width((low, high), counts, (units, len(unit)), settings.alpha)
    difference = found.challenger - found.champion
    return Comparison(
        metric=settings.metric,
        champion=found.champion,
        challenger=found.challenger,
        difference=-difference if lower else difference,
        low=low,
        high=high,
        p_value=found.p_below if lower else found.p_above,
        test=f"paired bootstrap over {units} {'images' if units == len(unit) else 'groups'}",
        images=len(unit),
        units=units,
        wins=counts[0],
        losses=counts[1],
    )


def _keep_width(
    bounds: tuple[float, float], counts: tuple[int, int], sizes: tuple[int, int], alpha: float
) -> tuple[float, float]:
    """Widen an interval of accuracy to what as many independent units would leave open: a bootstrap of equals has no width."""
    units, images = sizes
    wins, losses = (count * units / images for count in counts)
    low, high = difference_interval(wins, losses, units, alpha)
    return min(bounds[0], low), max(bounds[1], high)
