"""How far a metric may lie from what other test images of the same kind would show."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from visiongate.evaluation.calibration import assign_bins
from visiongate.evaluation.confusion_posterior import draw_confusions
from visiongate.evaluation.metrics import ClassResult, count_confusions
from visiongate.evaluation.ranking import RankedClass, rank_classes
from visiongate.models.predictions import Predictions
from visiongate.records.interval import Interval, effective_draws, wilson_interval
from visiongate.settings.evaluation import Evaluation

Floats = npt.NDArray[np.float64]
Units = npt.NDArray[np.int64]
CELLS = 1_000_000  # of the table of draws held at a time: 8 MB, near the processor
RANKED_CELLS = (
    200_000_000  # images × classes × samples that ROC-AUC and average precision may cost: a few seconds
)
FEWEST_RANKED = 100  # samples, however many images and classes there are


@dataclass(frozen=True, slots=True)
class Judged:
    """What the intervals are found of, N images."""

    predictions: Predictions
    groups: Sequence[str | None]  # N; None makes an image its own group
    positive: int | None  # of two classes
    uncalibrated: Predictions | None  # without the temperature, where it is known
    means: Mapping[
        str, npt.NDArray[np.floating | np.bool_]
    ]  # N values each, of metrics that are the mean of them


def find_intervals(judged: Judged, settings: Evaluation) -> dict[str, Interval]:
    """Find the interval of each metric of `compute_metrics` and `judge_positive`, and of the means that are given.

    Images of one group count as one draw, for the images of one patient are no independent witnesses.

    Accuracy is a share, and has Wilson's interval: Wilson, E. B. (1927), Probable inference, the law of succession, and
    statistical inference, JASA 22, 209-212; so have sensitivity and specificity. The others have the percentile bootstrap:
    Efron, B., Tibshirani, R. J. (1993), An introduction to the bootstrap, section 13.3. It shows no mistake that the images do
    not have; so what follows from the confusions alone, F1 say, has the wider of its bounds and those of
    `visiongate.evaluation.confusion_posterior`. ROC-AUC and average precision of classes that are told apart without a mistake
    keep an interval of no width, which says little. Noise lowers a minimum and raises a mean of gaps, so that recall_min lies
    high in its interval, even above it, and ece low.

    Args:
        judged: Of N images.
        settings: Number of samples and of bins, confidence and seed.
    """
    unit = _number_units(judged.groups)
    predictions = judged.predictions
    draws = effective_draws(unit)
    accuracy = wilson_interval(float(predictions.correct.mean()), draws, settings.confidence)
    shares = {"accuracy": accuracy, **_shares_of_two(judged, unit, settings.confidence)}
    found = _bootstrap(judged, unit, settings)
    wider = _posterior(judged, draws, settings)
    return {name: _widen(interval, wider.get(name)) for name, interval in found.items()} | shares


def class_intervals(
    predictions: Predictions, groups: Sequence[str | None], results: Sequence[ClassResult], confidence: float
) -> dict[str, dict[str, Interval]]:
    """Find Wilson's intervals of each class's recall and precision, by metric and class; what is undefined is missing.

    Images of one group count as in `find_intervals`. F1 is no share; its bounds are those that the bounds of recall and
    precision give together, which are wider than need be.
    """
    unit, predicted = _number_units(groups), predictions.predicted
    found: dict[str, dict[str, Interval]] = {"recall": {}, "precision": {}, "f1": {}}
    for number, result in enumerate(results):
        if result.recall is None or result.precision is None or result.f1 is None:
            continue
        called = predicted == number
        draws = effective_draws(unit[called]) if called.any() else 1.0
        recall = wilson_interval(
            result.recall, effective_draws(unit[predictions.labels == number]), confidence
        )
        precision = wilson_interval(result.precision, draws, confidence)
        bounds = (_harmonic(recall.low, precision.low), _harmonic(recall.high, precision.high))
        found["recall"][result.name] = recall
        found["precision"][result.name] = precision
        found["f1"][result.name] = Interval(result.f1, *bounds)
    return found


def _harmonic(recall: float, precision: float) -> float:
    return 2 * recall * precision / (recall + precision) if recall + precision else 0.0


def _shares_of_two(judged: Judged, unit: Units, confidence: float) -> dict[str, Interval]:
    """Wilson's intervals of sensitivity and specificity; the draws are those that the groups of the class are worth."""
    if judged.positive is None:
        return {}
    found = {}
    actual = judged.predictions.labels == judged.positive
    for name, mine in (("sensitivity", actual), ("specificity", ~actual)):
        if mine.any():
            share = float(judged.predictions.correct[mine].mean())
            found[name] = wilson_interval(share, effective_draws(unit[mine]), confidence)
    return found


def _number_units(groups: Sequence[str | None]) -> Units:
    """Number what is drawn as one: a group, or an image of none."""
    keys = [
        ("image", str(index)) if group is None else ("group", group) for index, group in enumerate(groups)
    ]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return np.array([numbers[key] for key in keys], dtype=np.int64)


def _bootstrap(judged: Judged, unit: Units, settings: Evaluation) -> dict[str, Interval]:
    """Draw the units again and again, with replacement; a metric that no sample defines has no interval."""
    units = int(unit.max()) + 1
    everything = np.ones((units, 1))
    sums = _Sums(judged, unit, settings.calibration_bins)
    ranked = rank_classes(judged.predictions)
    observed = sums(everything) | _rank(ranked, everything[unit])
    rows = [sums(counts) for counts in _draw(units, sums.rows, settings, settings.bootstrap_samples)]
    cost = max(1, sum(len(each.order) for each in ranked))
    samples = min(settings.bootstrap_samples, max(FEWEST_RANKED, RANKED_CELLS // cost))
    more = [_rank(ranked, counts[unit]) for counts in _draw(units, len(unit), settings, samples)]
    drawn = {
        name: np.concatenate([row[name] for row in table]) for table in (rows, more) for name in table[0]
    }
    tail = (1 - settings.confidence) / 2
    return {
        name: Interval(float(observed[name][0]), *map(float, np.nanquantile(values, [tail, 1 - tail])))
        for name, values in drawn.items()
        if not np.isnan(observed[name][0]) and not np.isnan(values).all()
    }


def _posterior(judged: Judged, draws: float, settings: Evaluation) -> dict[str, tuple[float, float]]:
    """Return the bounds of what follows from the confusions alone."""
    share = draws / len(judged.groups)
    confusions = count_confusions(judged.predictions)
    rows = []
    for right, there, called in draw_confusions(confusions, share, settings.bootstrap_samples, settings.seed):
        row = _class_metrics(right, there, called)
        if judged.positive is not None:
            row |= _positive_metrics(right, there, called, judged.positive)
        rows.append(row)
    tail = (1 - settings.confidence) / 2
    return {
        name: tuple(np.quantile(np.concatenate([row[name] for row in rows]), [tail, 1 - tail]).tolist())
        for name in rows[0]
    }


def _widen(interval: Interval, bounds: tuple[float, float] | None) -> Interval:
    if bounds is None:
        return interval
    return Interval(interval.value, min(interval.low, bounds[0]), max(interval.high, bounds[1]))


def _rank(ranked: Sequence[RankedClass], weights: Floats) -> dict[str, Floats]:
    """Return ROC-AUC and average precision of each sample, macro; weights are N×S."""
    if not ranked:
        return {}
    areas, precisions = zip(*(each.areas(weights) for each in ranked), strict=True)
    return {"roc_auc": _mean_of(np.stack(areas)), "average_precision": _mean_of(np.stack(precisions))}


def _mean_of(values: Floats) -> Floats:
    """Average the rows of K×S, without what a sample lacks."""
    there = ~np.isnan(values)
    mean: Floats = np.divide(
        np.where(there, values, 0).sum(axis=0),
        there.sum(axis=0),
        out=np.full(values.shape[1], np.nan),
        where=there.any(axis=0),
    )
    return mean


def _draw(units: int, rows: int, settings: Evaluation, samples: int) -> Iterator[Floats]:
    """Yield how often each unit is drawn, units × samples, a bounded number of samples at a time."""
    generator = np.random.default_rng(settings.seed)
    chunk = max(1, CELLS // max(units, rows))
    for start in range(0, samples, chunk):
        width = min(chunk, samples - start)
        drawn = generator.integers(units, size=(units, width))
        cells = drawn * width + np.arange(width)
        yield np.bincount(cells.ravel(), minlength=units * width).reshape(units, width).astype(np.float64)


class _Sums:
    """The metrics for which a sum over the drawn images is enough.

    A sample is a count of each unit, and all samples together are a product of two matrices. For each unit there is a column:
    images of each class that are right, are there, are predicted; gaps by bin; the means.
    """

    def __init__(self, judged: Judged, unit: Units, bins: int) -> None:
        self._classes, self._bins = len(judged.predictions.classes), bins
        self._positive = judged.positive
        self._means = list(judged.means)
        calibrated = {"ece": judged.predictions, "ece_uncalibrated": judged.uncalibrated}
        self._gaps = [name for name, predictions in calibrated.items() if predictions is not None]
        entries = [
            *_class_entries(judged.predictions),
            *(_gap_entries(each, bins) for each in calibrated.values() if each is not None),
            *((np.zeros_like(unit), np.asarray(values, np.float64)) for values in judged.means.values()),
        ]
        heights = [self._classes] * 3 + [bins] * len(self._gaps) + [1] * len(self._means)
        starts = np.cumsum([0, *heights])
        self.rows = int(starts[-1])
        places = np.concatenate([row + start for (row, _), start in zip(entries, starts[:-1], strict=True)])
        values = np.concatenate([values for _, values in entries])
        self._table = csr_array(
            (values, (places, np.tile(unit, len(entries)))), shape=(self.rows, int(unit.max()) + 1)
        )

    def __call__(self, counts: Floats) -> dict[str, Floats]:
        """Return each metric of each sample."""
        sums = self._table @ counts
        classes = self._classes
        right, there, called = sums[: 3 * classes].reshape(3, classes, -1)
        images = there.sum(axis=0)
        found = _class_metrics(right, there, called)
        for place, name in enumerate(self._gaps):
            start = 3 * classes + place * self._bins
            found[name] = np.abs(sums[start : start + self._bins]).sum(axis=0) / images
        means = sums[3 * classes + len(self._gaps) * self._bins :] / images
        found |= dict(zip(self._means, means, strict=True))
        if self._positive is not None:
            found |= _positive_metrics(right, there, called, self._positive)
        return found


def _class_entries(predictions: Predictions) -> list[tuple[Units, Floats]]:
    """Rows and values, N each, of what is right, there and called of each class."""
    labels, ones = predictions.labels, np.ones(len(predictions.labels))
    right = predictions.correct.astype(np.float64)
    return [(labels, right), (labels, ones), (predictions.predicted, ones)]


def _gap_entries(predictions: Predictions, bins: int) -> tuple[Units, Floats]:
    likeliest = predictions.by_probability()
    return assign_bins(likeliest.confidence, bins), likeliest.correct - likeliest.confidence


def _class_metrics(right: Floats, there: Floats, called: Floats) -> dict[str, Floats]:
    """From the sums by class and sample, K×S, to the metrics over classes.

    A class that a sample lacks is left out of the sample's means and minima, as in `visiongate.evaluation.metrics`.
    """
    images = there.sum(axis=0)
    known = there > 0
    nothing = np.full_like(right, np.nan)
    by_class = {
        "precision": np.where(
            known, np.divide(right, called, out=np.zeros_like(right), where=called > 0), np.nan
        ),
        "recall": np.divide(right, there, out=nothing.copy(), where=known),
        "f1": np.divide(2 * right, there + called, out=nothing, where=known),
    }
    found = {}
    for name, values in by_class.items():
        found[f"{name}_macro"] = _mean_of(values)
        found[f"{name}_weighted"] = (np.where(known, values, 0) * there).sum(axis=0) / images
    found["balanced_accuracy"] = found["recall_macro"]
    found |= {f"{name}_min": np.nanmin(by_class[name], axis=0) for name in ("recall", "f1")}
    return {**found, "mcc": _matthews(right.sum(axis=0), there, called)}


def _matthews(right: Floats, there: Floats, called: Floats) -> Floats:
    """Gorodkin, J. (2004), Comparing two K-category assignments by a K-category correlation coefficient; 0 where undefined."""
    images = there.sum(axis=0)
    spread = (images**2 - (there**2).sum(axis=0)) * (images**2 - (called**2).sum(axis=0))
    agreement = right * images - (there * called).sum(axis=0)
    coefficient: Floats = np.divide(agreement, np.sqrt(spread), out=np.zeros_like(images), where=spread > 0)
    return coefficient


def _positive_metrics(right: Floats, there: Floats, called: Floats, positive: int) -> dict[str, Floats]:
    hits, actual, positives = right[positive], there[positive], called[positive]
    shares = {"precision_positive": (hits, positives), "f1_positive": (2 * hits, actual + positives)}
    return {
        name: np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)
        for name, (part, whole) in shares.items()
    }
