"""On which parts of a split does the model fare worse than on the rest, and by more than bad luck?"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import fisher_exact

from visiongate.models.predictions import Predictions
from visiongate.records.evaluation import Slice
from visiongate.records.interval import effective_draws, wilson_interval

MOST_SOURCES, MOST_GROUPS = 20, 10
SIZES, BRIGHTNESSES = ("small", "medium", "large"), ("dark", "medium", "bright")

Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Description:
    """What is known of an image apart from its class."""

    brightness: float  # mean of the pixels that the model is given, 0..255
    source: str
    group: str | None  # images of one group, a patient's say, are no independent witnesses
    width: int | None = None  # of the original, in pixels
    height: int | None = None


@dataclass(frozen=True, slots=True)
class _Cut:
    dimension: str
    name: str
    mask: Mask  # N


@dataclass(frozen=True, slots=True)
class _Share:
    """An accuracy, and the independent draws that it was seen in."""

    accuracy: float
    draws: float

    @property
    def right(self) -> int:
        return round(self.accuracy * round(self.draws))


def cut_slices(
    predictions: Predictions, descriptions: Sequence[Description], confidence: float, smallest: int
) -> list[Slice]:
    """Judge a split by class, by thirds of size and of brightness, by source and by group.

    Whether a slice is worse than the rest is told by Fisher's exact test, one-sided, and the p-values are adjusted by Holm's
    method over every slice that was cut, so that the worst of many is not just the unluckiest. For the interval and the
    test, images of one group count as in `find_intervals`, except where the slice is itself a group.

    Fisher, R. A. (1935), The design of experiments, section 21.1 of later editions; Holm, S. (1979), A simple sequentially
    rejective multiple test procedure, Scandinavian Journal of Statistics 6, 65-70; Wilson as in `wilson_interval`.

    Args:
        predictions: Of N images.
        descriptions: N, in the same order.
        confidence: Of the intervals.
        smallest: Images that a group needs in order to be a slice.

    Returns:
        Classes in their order; thirds from small to large and from dark to bright, where images differ; the `MOST_SOURCES`
        largest sources, where there are several; the `MOST_GROUPS` worst groups. No slice is empty, or the whole split.

    Raises:
        ValueError: The two differ in length.
    """
    if len(predictions.labels) != len(descriptions):
        raise ValueError(f"{len(predictions.labels)} predictions, but {len(descriptions)} descriptions")
    units = _number_units([description.group for description in descriptions])
    cuts = [cut for cut in _cut(predictions, descriptions, smallest) if not cut.mask.all()]
    shares = [_weigh(cut, predictions.correct, units) for cut in cuts]
    p_values = _adjust([_test(mine, rest) for mine, rest in shares])
    slices = [
        _judge(cut, mine, rest, p_value, confidence)
        for cut, (mine, rest), p_value in zip(cuts, shares, p_values, strict=True)
    ]
    groups = sorted((found for found in slices if found.dimension == "group"), key=_badness)
    return [found for found in slices if found.dimension != "group"] + groups[:MOST_GROUPS]


def _badness(found: Slice) -> tuple[float, int]:
    return found.accuracy, -found.images


def _cut(predictions: Predictions, descriptions: Sequence[Description], smallest: int) -> Iterator[_Cut]:
    """Yield every slice that holds an image; groups only if they hold enough."""
    classes = [predictions.classes[label] for label in predictions.labels]
    yield from _cut_names("class", classes, predictions.classes)
    sizes = np.array([_count_pixels(description) for description in descriptions])
    yield from _cut_thirds("size", sizes, SIZES, " pixels")
    # To a tenth, which is what the names tell of the bounds.
    brightness = np.array([description.brightness for description in descriptions]).round(1)
    yield from _cut_thirds("brightness", brightness, BRIGHTNESSES, "")
    sources = Counter(description.source for description in descriptions)
    largest = sorted(sources, key=lambda name: (-sources[name], name))[:MOST_SOURCES]
    yield from _cut_names("source", [description.source for description in descriptions], largest)
    groups = Counter(description.group for description in descriptions)
    enough = sorted(name for name, images in groups.items() if name is not None and images >= smallest)
    yield from _cut_names("group", [description.group for description in descriptions], enough)


def _cut_names(dimension: str, given: Sequence[str | None], names: Sequence[str]) -> Iterator[_Cut]:
    column = np.array(given, dtype=object)
    for name in names:
        if (mask := column == name).any():
            yield _Cut(dimension, name, mask)


def _count_pixels(description: Description) -> float:
    if description.width is None or description.height is None:
        return np.nan
    return float(description.width * description.height)


def _cut_thirds(dimension: str, values: Floats, names: tuple[str, str, str], unit: str) -> Iterator[_Cut]:
    """Yield the images up to a bound, up to the next, and above; two parts where most images are equal, none where all are."""
    bounds = _find_bounds(values[np.isfinite(values)])
    if not len(bounds):
        return
    part = np.where(np.isfinite(values), np.searchsorted(bounds, values), -1)
    first, last = f"{bounds[0]:,.10g}", f"{bounds[-1]:,.10g}"
    yield _Cut(dimension, f"{names[0]} (up to {first}{unit})", part == 0)
    if len(bounds) > 1:
        yield _Cut(dimension, f"{names[1]} (over {first}, up to {last}{unit})", part == 1)
    yield _Cut(dimension, f"{names[-1]} (over {last}{unit})", part == len(bounds))


def _find_bounds(values: Floats) -> Floats:
    """Find the one or two values that cut nearest to the thirds, equal values kept together; none where all are equal."""
    levels, counts = np.unique(values, return_counts=True)
    below = counts.cumsum()[:-1]
    if not len(below):
        return levels[:0]
    cuts = [int(np.abs(3 * below - share * len(values)).argmin()) for share in (1, 2)]
    return levels[np.unique(cuts)]


def _number_units(groups: Sequence[str | None]) -> npt.NDArray[np.int64]:
    """Number what counts as one draw: a group, or an image of none."""
    numbers: dict[tuple[int, str | None], int] = {}
    keys = [(index if group is None else -1, group) for index, group in enumerate(groups)]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def _weigh(cut: _Cut, correct: Mask, units: npt.NDArray[np.int64]) -> tuple[_Share, _Share]:
    """Count the draws of a slice and of the rest."""
    images = np.arange(len(correct))
    drawn = images if cut.dimension == "group" else units
    mine, rest = (
        _Share(float(correct[mask].mean()), effective_draws(drawn[mask])) for mask in (cut.mask, ~cut.mask)
    )
    return mine, rest


def _test(mine: _Share, rest: _Share) -> float:
    """Return the probability of a slice as bad as this, were it no worse than the rest."""
    table = [[share.right, round(share.draws) - share.right] for share in (mine, rest)]
    return float(fisher_exact(table, alternative="less").pvalue)


def _adjust(p_values: Sequence[float]) -> list[float]:
    """Adjust by Holm's method: where no slice is worse than the rest, one is below x with a chance of at most x."""
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * np.asarray(p_values)[order]), 1)
    return [float(p_value) for p_value in adjusted]


def _judge(cut: _Cut, mine: _Share, rest: _Share, p_value: float, confidence: float) -> Slice:
    interval = wilson_interval(mine.accuracy, mine.draws, confidence)
    return Slice(
        dimension=cut.dimension,
        name=cut.name,
        images=int(np.count_nonzero(cut.mask)),
        accuracy=mine.accuracy,
        low=interval.low,
        high=interval.high,
        gap=mine.accuracy - rest.accuracy,
        p_value=p_value,
    )
