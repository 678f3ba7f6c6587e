"""Measure how often a cross-validated interval contains the true accuracy: ``make bench BENCH=coverage``.

It draws small data sets from the digits, with noise, and cross-validates three classifiers on each. The truth is the mean
accuracy of the models of the folds on the images that were not drawn. Wilson's interval with as many draws as images is
compared with the pipeline's, which counts each image as a share of an independent one.

The benchmark needs no data and takes some minutes.
"""

import argparse
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import numpy as np
import numpy.typing as npt
from sklearn.base import ClassifierMixin
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier

from visiongate.evaluation.result import CROSS_VALIDATED
from visiongate.records.interval import wilson_interval
from visiongate.records.splits import validation_fold

FOLDS, NOISE, CONFIDENCE = 5, 4.0, 0.95
SIZES = (60, 120, 400)
CLASSIFIERS: dict[str, Callable[[], ClassifierMixin]] = {
    "logistic regression": lambda: LogisticRegression(C=0.01, max_iter=2000),
    "decision tree": lambda: DecisionTreeClassifier(random_state=0),
    "nearest neighbor": lambda: KNeighborsClassifier(1),
}
Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


def main() -> None:
    """Simulate and print the table."""
    parser = argparse.ArgumentParser(description="Measure the coverage of cross-validated intervals.")
    parser.add_argument("--data-sets", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    generator = np.random.default_rng(options.seed)
    # Classes with fewer images than folds cannot be in each of them.
    warnings.filterwarnings("ignore", "The least populated class")
    print(f"{'classifier':20} {'images':>6} {'as many':>8} {'pipeline':>8}")
    for name, make in CLASSIFIERS.items():
        for size in SIZES:
            drawn = [simulate(make, size, generator) for _ in range(options.data_sets)]
            shares = [
                np.mean([covers(*each, size * worth) for each in drawn]) for worth in (1.0, CROSS_VALIDATED)
            ]
            print(f"{name:20} {size:6} {shares[0]:8.1%} {shares[1]:8.1%}", flush=True)


def simulate(
    make: Callable[[], ClassifierMixin], size: int, generator: np.random.Generator
) -> tuple[float, float]:
    """Return the out-of-fold accuracy on ``size`` images, and the mean accuracy of the models on all others."""
    images, labels = load_digits(return_X_y=True)
    order = generator.permutation(len(labels))
    images = (images + generator.normal(0, NOISE, images.shape))[order]
    labels = labels[order].astype(np.int64)
    drawn, others = slice(None, size), slice(size, None)
    folds = assign_folds(images[drawn], labels[drawn], int(generator.integers(2**31)))
    correct, truths = np.empty(size), []
    for fold in range(FOLDS):
        trained = (folds != fold) & (folds != validation_fold(fold, FOLDS))
        model = make().fit(images[drawn][trained], labels[drawn][trained])
        tested = folds == fold
        correct[tested] = model.predict(images[drawn][tested]) == labels[drawn][tested]
        truths.append(model.score(images[others], labels[others]))
    return float(correct.mean()), float(np.mean(truths))


def assign_folds(images: Floats, labels: Labels, seed: int) -> Labels:
    """Return the fold of each image."""
    folds = np.empty(len(labels), dtype=np.int64)
    splitter = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    for fold, (_, tested) in enumerate(splitter.split(images, labels)):
        folds[tested] = fold
    return folds


def covers(found: float, truth: float, draws: float) -> bool:
    """Return whether the interval of an accuracy contains the truth."""
    interval = wilson_interval(found, draws, CONFIDENCE)
    return interval.low <= truth <= interval.high


if __name__ == "__main__":
    main()
