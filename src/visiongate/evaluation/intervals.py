"""How far a metric may lie from what other test images of the same kind would show."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from visiongate.config import Evaluation
from visiongate.evaluation.calibration import assign_bins
from visiongate.evaluation.predictions import Predictions

Floats = npt.NDArray[np.float64]
CELLS = 1_000_000  # of the table of draws held at a time: 8 MB, near the processor


@dataclass(frozen=True, slots=True)
class Interval:
    """A metric, and the bounds of its confidence interval."""

    value: float
    low: float
    high: float


def find_intervals(
    predictions: Predictions, groups: Sequence[str | None], settings: Evaluation
) -> dict[str, Interval]:
    """Find the intervals of accuracy, f1_macro, recall_min, ece and log_loss.

    Images of one group count as one draw, for the images of one patient are no independent witnesses.

    Accuracy is a share, and has Wilson's interval: Wilson, E. B. (1927), Probable inference, the law of succession, and
    statistical inference, JASA 22, 209-212. The others have the percentile bootstrap: Efron, B., Tibshirani, R. J. (1993), An
    introduction to the bootstrap, section 13.3. A bootstrap shows no mistake that the images do not have: where all are
    right, f1_macro and recall_min get an interval of no width, which says little; Wilson's keeps its width. Noise lowers a
    minimum and raises a mean of gaps, so that recall_min lies high in its interval, even above it, and ece low.

    Args:
        predictions: Of N images.
        groups: N, each image's group; None makes an image its own group.
        settings: Number of samples and of bins, confidence and seed.
    """
    unit = _number_units(groups)
    accuracy = float(predictions.correct.mean())
    return {
        "accuracy": wilson_interval(accuracy, int(unit.max()) + 1, settings.confidence),
        **_bootstrap(predictions, unit, settings),
    }


def wilson_interval(share: float, draws: int, confidence: float) -> Interval:
    """Find Wilson's score interval of a share seen in so many independent draws."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    centre = share + z * z / (2 * draws)
    half = z * (share * (1 - share) / draws + z * z / (4 * draws * draws)) ** 0.5
    scale = 1 + z * z / draws
    # The share lies within its interval; rounding must not put it outside.
    return Interval(share, min(share, (centre - half) / scale), max(share, (centre + half) / scale))


def _bootstrap(
    predictions: Predictions, unit: npt.NDArray[np.int64], settings: Evaluation
) -> dict[str, Interval]:
    """Draw the units again and again, with replacement.

    A sum over the drawn images is enough for each of the metrics. So a draw is a count of each unit, and all draws together
    a product of two matrices.
    """
    sums = _sums(predictions, unit, settings.calibration_bins)
    rows, units = sums.shape
    classes = len(predictions.classes)
    observed = _statistics(sums @ np.ones((units, 1)), classes)
    samples = np.hstack([_statistics(sums @ counts, classes) for counts in _draw(units, rows, settings)])
    tail = (1 - settings.confidence) / 2
    low, high = np.quantile(samples, [tail, 1 - tail], axis=1)
    return {
        name: Interval(float(observed[row, 0]), float(low[row]), float(high[row]))
        for row, name in enumerate(("f1_macro", "recall_min", "ece", "log_loss"))
    }


def _number_units(groups: Sequence[str | None]) -> npt.NDArray[np.int64]:
    """Number what is drawn as one: a group, or an image of none."""
    keys = [
        ("image", str(index)) if group is None else ("group", group) for index, group in enumerate(groups)
    ]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return np.array([numbers[key] for key in keys], dtype=np.int64)


def _sums(predictions: Predictions, unit: npt.NDArray[np.int64], bins: int) -> csr_array:
    """For each unit, a column: images of each class that are right, are there, are predicted; gaps by bin; the log loss."""
    labels, predicted, correct = predictions.labels, predictions.predicted, predictions.correct
    classes, images = len(predictions.classes), np.ones(len(labels))
    binned = assign_bins(predictions.confidence, bins)
    likelihood = np.take_along_axis(predictions.probabilities, labels[:, None], axis=1)[:, 0]
    loss = -np.log(np.maximum(likelihood, np.finfo(np.float64).eps))  # where scikit-learn clips too
    rows = (labels, labels + classes, predicted + 2 * classes, binned + 3 * classes)
    last = np.full(len(labels), 3 * classes + bins)
    values = (correct, images, images, correct - predictions.confidence, loss)
    return csr_array(
        (np.concatenate(values), (np.concatenate((*rows, last)), np.tile(unit, len(values)))),
        shape=(3 * classes + bins + 1, unit.max() + 1),
    )


def _draw(units: int, rows: int, settings: Evaluation) -> Iterator[Floats]:
    """Yield how often each unit is drawn, units × samples, a bounded number of samples at a time."""
    generator = np.random.default_rng(settings.seed)
    chunk = max(1, CELLS // max(units, rows))
    for start in range(0, settings.bootstrap_samples, chunk):
        samples = min(chunk, settings.bootstrap_samples - start)
        drawn = generator.integers(units, size=(units, samples))
        cells = drawn * samples + np.arange(samples)
        yield np.bincount(cells.ravel(), minlength=units * samples).reshape(units, samples).astype(np.float64)


def _statistics(sums: Floats, classes: int) -> Floats:
    """From the sums of each sample, one a column, to the four metrics of each, one a row.

    A class that a sample lacks is left out of the sample's mean and minimum, as in `visiongate.evaluation.metrics`.
    """
    right, there, predicted = sums[: 3 * classes].reshape(3, classes, -1)
    images = there.sum(axis=0)
    nothing = np.full_like(right, np.nan)
    recall = np.divide(right, there, out=nothing.copy(), where=there > 0)
    f1 = np.divide(2 * right, there + predicted, out=nothing, where=there > 0)
    return np.stack(
        [
            np.nanmean(f1, axis=0),
            np.nanmin(recall, axis=0),
            np.abs(sums[3 * classes : -1]).sum(axis=0) / images,
            sums[-1] / images,
        ]
    )
