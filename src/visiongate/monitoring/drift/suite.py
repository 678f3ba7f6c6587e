"""All tests of a window against a reference, by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from visiongate.monitoring.drift.accuracy import Calibration, EstimatedAccuracy
from visiongate.monitoring.drift.advice import FEW_PICTURES, FLOOD
from visiongate.monitoring.drift.copies import (
    compare_frequent_groups,
    compare_largest_group,
    find_groups,
    safe_distance,
)
from visiongate.monitoring.drift.distributions import (
    Outcome,
    compare_counts,
    compare_marks,
    compare_numbers,
    find_largest_gap,
)
from visiongate.monitoring.drift.embeddings import USUAL, FeatureMap, compare_means, compare_novelty
from visiongate.monitoring.drift.sample import Sample
from visiongate.records.drift_reference import DriftReference
from visiongate.settings.monitoring import Drift, DriftTest

Array = npt.NDArray[Any]
# Of pixels from 0 to 1: a picture with less shows nothing.
_BLANK: Final = 0.02
# Of which results are kept: the versions that answer at a time are few.
_REFERENCES: Final = 4
# Fewer known values of a reference say nothing.
_MIN_KNOWN: Final = 30


@dataclass(frozen=True, slots=True, eq=False)
class TestResult:
    """What a test found.

    Attributes:
        effect: How large the difference is, from 0 to about 1; `UNITS` says of what.
        p_value: Of this test alone.
        what: In words.
        scores: A number for each image of the window by which it differs, and the number that is usual; None if there is none.
        cause: What explains it; None if that depends on the other tests.
    """

    effect: float
    p_value: float
    what: str
    scores: tuple[Array, float] | None = None
    cause: str | None = None


_DISTRIBUTION: Final = "largest difference of the distribution functions"
_VARIATION: Final = "share of images that would need another value"
UNITS: Final[Mapping[DriftTest, str]] = {
    "flood": "share of the images that are one picture, or few",
    "format": _VARIATION,
    "mode": _VARIATION,
    "size": _DISTRIBUTION,
    "aspect": _DISTRIBUTION,
    "brightness": _DISTRIBUTION,
    "contrast": _DISTRIBUTION,
    "embeddings": "maximum mean discrepancy",
    "novelty": "share of images far from all known ones, beyond the usual",
    "out_of_distribution": "share of images unlike the training images, beyond the usual",
    "classes": _VARIATION,
    "probabilities": f"{_DISTRIBUTION} of a class",
    "confidence": _DISTRIBUTION,
    "accuracy": "estimated loss of accuracy",
}


@dataclass(eq=False)
class Pair:
    """A window and what it is compared with.

    Attributes:
        classes: Names of the classes, K.
        facts: The images of the reference; None without.
        outputs: What the served model said of images of a reference; None without.
        labeled: Held-out images with labels, maybe predicted by other models; None without.
        recent: The window, with copies.
        settings: Of the tests.
        by_rollout: Whether the facts and the outputs are of a rollout, and not of the labeled images.
        files: The window without copies of one file; None if it is to be found in ``recent``.
    """

    classes: tuple[str, ...]
    facts: Sample | None
    outputs: Sample | None
    labeled: DriftReference | None
    recent: Sample
    settings: Drift
    by_rollout: bool = False
    files: Sample | None = None

    @cached_property
    def groups(self) -> npt.NDArray[np.int64]:
        """The group of copies that each image of the window is in."""
        return self._group(self.recent)

    @cached_property
    def window(self) -> Sample:
        """The window without copies: of each picture, the first image."""
        sample, groups = self.recent, self.groups
        if self.files is not None:
            sample, groups = self.files, self._group(self.files)
        return sample.take(np.sort(np.unique(groups, return_index=True)[1]))

    @cached_property
    def accuracy(self) -> EstimatedAccuracy | None:
        """The estimated accuracy of the window; None without labels."""
        if self.labeled is None or self.outputs is None:
            return None
        calibration = _calibrate(self.labeled)
        before, after = ((each.confidence, each.predicted) for each in (self.outputs, self.window))
        return calibration.estimate(before, after)

    def _group(self, sample: Sample) -> npt.NDArray[np.int64]:
        sketches = sample.embedding
        distance = None if self.outputs is None else _safe_distance(self.outputs)
        if distance is None or not len(_known_rows(sketches)):
            return find_groups(sample.image.tolist(), None, 0.0)
        distance = min(distance, self.settings.near_distance)
        return find_groups(sample.image.tolist(), np.nan_to_num(sketches), distance)


def run_test(test: DriftTest, pair: Pair) -> TestResult | None:
    """Return the result of a test; None if the window or the reference has not what it needs."""
    return _TESTS[test](pair)


def _flood(pair: Pair) -> TestResult:
    outcomes = [
        compare_largest_group(pair.groups, pair.settings.largest_repeat),
        compare_frequent_groups(pair.groups, pair.settings.largest_repeat),
    ]
    outcome = min(outcomes, key=lambda each: each.p_value)
    member, pictures = np.isin(pair.groups, outcome.groups), len(outcome.groups)
    contrast = pair.recent.contrast[member]
    blank = " and blank" if np.isfinite(contrast).any() and np.nanmedian(contrast) < _BLANK else ""
    name = (
        "one picture or near-copies of it" if pictures == 1 else f"{pictures} pictures or near-copies of them"
    )
    what = f"{member.sum():,} of {len(member):,} images are {name}{blank}"
    p_value = min(1.0, len(outcomes) * outcome.p_value)
    cause = FLOOD if pictures == 1 else FEW_PICTURES
    return TestResult(outcome.effect, p_value, what, (member.astype(float), 0.0), cause)


def _categories(name: str) -> Callable[[Pair], TestResult | None]:
    def test(pair: Pair) -> TestResult | None:
        if pair.facts is None:
            return None
        after, before = getattr(pair.window, name), getattr(pair.facts, name)
        if not _enough(before[before != ""], after[after != ""]):
            return None
        names, codes = np.unique(np.concatenate([before, after]), return_inverse=True)
        named = names[codes] != ""
        old, new = codes[: len(before)][named[: len(before)]], codes[len(before) :][named[len(before) :]]
        counts = [np.bincount(each, minlength=len(names)) for each in (old, new)]
        return _describe_counts(compare_counts(*counts), counts, names, codes[len(before) :], "images")

    return test


def _classes(pair: Pair) -> TestResult | None:
    if pair.outputs is None:
        return None
    count = len(pair.classes)
    before = np.bincount(pair.outputs.predicted, minlength=count)
    if pair.labeled is not None and pair.labeled.protocol == "holdout" and not pair.by_rollout:
        # Of all held-out images, of which the rows are a selection.
        before = pair.labeled.confusion.sum(axis=0)
    counts = [before, np.bincount(pair.window.predicted, minlength=count)]
    names = np.array(pair.classes)
    return _describe_counts(compare_counts(*counts), counts, names, pair.window.predicted, "predictions")


def _describe_counts(
    outcome: Outcome, counts: list[Array], names: Array, codes: Array, of: str
) -> TestResult:
    before, after = (each / each.sum() for each in counts)
    most = int(np.abs(after - before).argmax())
    what = f"{after[most]:.1%} of the {of} are {names[most]}, {before[most]:.1%} were"
    return TestResult(
        outcome.effect, outcome.p_value, what, ((codes == most).astype(float), float(before[most]))
    )


def _numbers(select: Callable[[Sample], Array], words: str) -> Callable[[Pair], TestResult | None]:
    def test(pair: Pair) -> TestResult | None:
        return None if pair.facts is None else _compare(select(pair.facts), select(pair.window), words)

    return test


def _confidence(pair: Pair) -> TestResult | None:
    if pair.outputs is None:
        return None
    return _compare(pair.outputs.confidence, pair.window.confidence, "the mean is {:.3f}, it was {:.3f}")


def _compare(before: Array, after: Array, words: str) -> TestResult | None:
    known, new = before[np.isfinite(before)], after[np.isfinite(after)]
    if not _enough(known, new):
        return None
    outcome = compare_numbers(np.sort(known), new)
    means = float(new.mean(dtype=np.float64)), float(known.mean(dtype=np.float64))
    scores = np.where(np.isfinite(after), after, means[1]).astype(float)
    # The mean may stay although the distribution changes.
    limit, usual, share = find_largest_gap(np.sort(known), new)
    what = f"{words.format(*means)}; {share:.1%} of the images have at most {limit:.3g}, {usual:.1%} had"
    return TestResult(outcome.effect, outcome.p_value, what, (scores, means[1]))


def _probabilities(pair: Pair) -> TestResult | None:
    if pair.outputs is None:
        return None
    ordered, after = _sort_probabilities(pair.outputs), _known_rows(pair.window.probabilities)
    if not _enough(ordered, after):
        return None
    outcomes = [compare_numbers(ordered[:, each], after[:, each]) for each in range(len(pair.classes))]
    most = min(range(len(outcomes)), key=lambda each: outcomes[each].p_value)
    # The mean may stay: a model that is less sure gives each class some probability, more often.
    limit, usual, share = find_largest_gap(ordered[:, most], after[:, most])
    name = pair.classes[most]
    what = f"the probability of {name} is at most {limit:.2g} for {share:.1%} of the images, it was for {usual:.1%}"
    # Holm's method makes the smallest p-value of the classes so much larger.
    p_value = min(1.0, len(outcomes) * outcomes[most].p_value)
    probability = pair.window.probabilities[:, most]
    scores = np.where(np.isnan(probability), usual, probability <= limit)
    return TestResult(outcomes[most].effect, p_value, what, (scores, usual))


def _embeddings(pair: Pair) -> TestResult | None:
    if pair.outputs is None:
        return None
    before, after = (_known_rows(each.embedding) for each in (pair.outputs, pair.window))
    if not _enough(before, after) or before.shape[1] != after.shape[1]:
        return None
    features, old = _map_features(pair.outputs)
    new = features(after)
    outcome = compare_means(old, new, pair.settings.permutations)
    direction = new.mean(axis=0) - old.mean(axis=0)
    scores = None
    if len(new) == len(pair.window):
        scores = ((new @ direction).astype(float), float((old @ direction).mean()))
    what = f"the embeddings have another distribution; the maximum mean discrepancy is {outcome.effect:.3f}"
    return TestResult(outcome.effect, outcome.p_value, what, scores)


def _novelty(pair: Pair) -> TestResult | None:
    if pair.outputs is None:
        return None
    before, after = (_known_rows(each.embedding) for each in (pair.outputs, pair.window))
    if not _enough(before[::2], after) or before.shape[1] != after.shape[1]:
        return None
    # The rows of a reference are in no order, and those of first predictions alternate.
    outcome = compare_novelty(before[::2], before[1::2], after)
    what = f"{max(0.0, outcome.effect):.1%} more images than usual are far from all known ones"
    scores = (outcome.far.astype(float), 1 - USUAL) if len(after) == len(pair.window) else None
    return TestResult(outcome.effect, outcome.p_value, what, scores)


def _out_of_distribution(pair: Pair) -> TestResult | None:
    if pair.outputs is None:
        return None
    before, after = (each.out_of_distribution for each in (pair.outputs, pair.window))
    if not _enough(before[before >= 0], after[after >= 0]):
        return None
    outcome = compare_marks(before[before >= 0] == 1, after[after >= 0] == 1)
    shares = [float((each[each >= 0] == 1).mean()) for each in (after, before)]
    what = f"{shares[0]:.1%} of the images are unlike the training images, {shares[1]:.1%} were"
    return TestResult(outcome.effect, outcome.p_value, what, ((after == 1).astype(float), shares[1]))


def _accuracy(pair: Pair) -> TestResult | None:
    if (estimate := pair.accuracy) is None:
        return None
    bounds = f"{estimate.low:.1%} to {estimate.high:.1%}"
    what = f"it is estimated at {estimate.value:.1%} ({bounds}), {estimate.drop:.1%} lower than usual"
    scores = pair.window.confidence.astype(float)
    usual = float(pair.outputs.confidence.mean(dtype=np.float64)) if pair.outputs else 0.0
    return TestResult(estimate.drop, estimate.p_value, what, (scores, usual))


# What depends on a reference alone is computed once, also if many windows are compared with it.
@lru_cache(maxsize=_REFERENCES)
def _map_features(outputs: Sample) -> tuple[FeatureMap, npt.NDArray[np.float32]]:
    known = _known_rows(outputs.embedding)
    features = FeatureMap.fit(known)
    return features, features(known)


@lru_cache(maxsize=_REFERENCES)
def _safe_distance(outputs: Sample) -> float | None:
    known = _known_rows(outputs.embedding)
    return safe_distance(known) if len(known) >= _MIN_KNOWN else None


@lru_cache(maxsize=_REFERENCES)
def _sort_probabilities(outputs: Sample) -> Array:
    return np.sort(_known_rows(outputs.probabilities), axis=0)


@lru_cache(maxsize=_REFERENCES)
def _calibrate(labeled: DriftReference) -> Calibration:
    return Calibration.fit(labeled.confidence, labeled.predicted, labeled.labels, len(labeled.classes))


def _megapixels(sample: Sample) -> Array:
    pixels = sample.width.astype(np.float64) * sample.height
    return np.where(pixels > 0, pixels / 1e6, np.nan)


def _aspect(sample: Sample) -> Array:
    return np.where(sample.height > 0, sample.width / np.maximum(sample.height, 1), np.nan)


def _known_rows(matrix: Array) -> Array:
    return matrix[np.isfinite(matrix).all(axis=1)] if matrix.shape[1] else matrix[:0]


def _enough(before: Array, after: Array) -> bool:
    return min(len(before), len(after)) >= _MIN_KNOWN


_TESTS: Final[Mapping[DriftTest, Callable[[Pair], TestResult | None]]] = {
    "flood": _flood,
    "format": _categories("format"),
    "mode": _categories("mode"),
    "size": _numbers(_megapixels, "the mean is {:.3g} megapixels, it was {:.3g}"),
    "aspect": _numbers(_aspect, "the mean of width / height is {:.2f}, it was {:.2f}"),
    "brightness": _numbers(lambda sample: sample.brightness, "the mean is {:.3f}, it was {:.3f}"),
    "contrast": _numbers(lambda sample: sample.contrast, "the mean is {:.3f}, it was {:.3f}"),
    "embeddings": _embeddings,
    "novelty": _novelty,
    "out_of_distribution": _out_of_distribution,
    "classes": _classes,
    "probabilities": _probabilities,
    "confidence": _confidence,
    "accuracy": _accuracy,
}
