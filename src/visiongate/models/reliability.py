"""Decide from the outputs of a model whether its predictions can be relied on.

A *prediction set* has the classes that a model cannot exclude. By split conformal prediction, it lacks the true class for at
most a chosen share of images, the error rate, whatever the model: Vovk, V., Gammerman, A., Shafer, G. (2005), Algorithmic
learning in a random world; Angelopoulos, A. N., Bates, S. (2023), Conformal prediction: a gentle introduction, section 1.
It holds for images of the same kind as those that the threshold was fitted on, on the average of all images. *Novelty* is for
the others.

The conformal score is 1 minus the probability of the true class (LAC), which has the smallest sets on average: Sadinle, M.,
Lei, J., Wasserman, L. (2019), Least ambiguous set-valued classifiers with bounded error levels, JASA 114. The adaptive sets of
APS and RAPS need a random number per image to be as small, and the same image must always have the same answer. LAC has empty
sets for images between the classes. They are filled, which can only lower the error rate; see `prediction_sets`.
"""

import math

import numpy as np
import numpy.typing as npt

from visiongate.records.reliability import Reliability

Floats = npt.NDArray[np.floating]
Flags = npt.NDArray[np.bool_]


def min_calibration_images(error_rate: float) -> int:
    """Return how many images a prediction set needs at least, so that it can exclude a class."""
    return math.ceil(1 / error_rate) - 1


def fit_min_probability(probabilities: Floats, labels: npt.NDArray[np.integer], error_rate: float) -> float:
    """Return the probability from which a class is in the prediction set.

    It is the k-th largest probability of a true class with k = ⌈(n + 1)(1 - error_rate)⌉, which makes the error rate exact for
    n images.

    Args:
        probabilities: N×K, of images that the model was not trained on.
        labels: N.
        error_rate: Above 0 and below 1.

    Returns:
        The probability; 0 with fewer than `min_calibration_images`, so that every set has all classes.
    """
    rank = conformal_rank(len(labels), error_rate)
    if rank > len(labels):
        return 0.0
    own = probabilities[np.arange(len(labels)), labels]
    return float(np.sort(own)[len(labels) - rank])


def fit_novelty_threshold(novelty: Floats, false_alarms: float) -> float | None:
    """Return the novelty that at most a share of images like these exceeds.

    Args:
        novelty: N, of images that the model was not trained on.
        false_alarms: The share; above 0 and below 1.

    Returns:
        The threshold; None with too few images to bound the share.
    """
    finite = novelty[np.isfinite(novelty)]
    rank = conformal_rank(len(finite), false_alarms)
    return None if rank > len(finite) else float(np.sort(finite)[rank - 1])


def conformal_rank(images: int, error_rate: float) -> int:
    """Return the rank, from 1, of the score that a further image exceeds with at most the error rate."""
    # Rounding must not raise a rank that is a whole number, such as 0.95 · 20.
    return math.ceil(round((images + 1) * (1 - error_rate), 9))


def prediction_sets(probabilities: Floats, reliability: Reliability) -> Flags:
    """Return the prediction set of each image, N×K.

    A set has the classes whose probability reaches ``min_probability``. If there are none, it has the most probable classes, as
    few as together have a probability of 1 - ``error_rate``.

    Args:
        probabilities: N×K.
        reliability: Of the model.
    """
    sets: Flags = probabilities >= reliability.min_probability
    empty = ~sets.any(axis=1)
    sets[empty] = _most_probable(probabilities[empty], 1 - reliability.error_rate)
    return sets


def is_sure(sets: Flags, predicted: npt.NDArray[np.integer]) -> Flags:
    """Return whether the prediction set of each image has the predicted class only, N.

    Args:
        sets: See `prediction_sets`.
        predicted: N.
    """
    sure: Flags = (sets.sum(axis=1) == 1) & sets[np.arange(len(sets)), predicted]
    return sure


def is_out_of_distribution(novelty: Floats, reliability: Reliability) -> Flags:
    """Return whether each image is unlike those that the model was trained for, N. A novelty that is not a number is.

    Args:
        novelty: N.
        reliability: Of the model.
    """
    if reliability.novelty_threshold is None:
        return np.zeros(len(novelty), dtype=np.bool_)
    outside: Flags = ~(novelty <= reliability.novelty_threshold)
    return outside


def _most_probable(probabilities: Floats, mass: float) -> Flags:
    order = np.argsort(-probabilities, axis=1, kind="stable")
    ordered = np.take_along_axis(probabilities, order, axis=1).astype(np.float64)
    # A class is added while the classes before it have too little probability together.
    added = np.cumsum(ordered, axis=1) - ordered < mass
    sets = np.zeros_like(added)
    np.put_along_axis(sets, order, added, axis=1)
    return sets
