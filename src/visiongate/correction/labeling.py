"""What to label next: images that the classifier is unsure of, and that differ from each other.

Zhdanov, F. (2019), Diverse mini-batch active learning, arXiv:1901.05954. The most uncertain images alone resemble each other,
and the most different ones alone are outliers: on cats and dogs, k-center is worse than a random choice.
"""

import warnings
from dataclasses import dataclass

import numpy as np

from visiongate.correction.embeddings import Embeddings
from visiongate.correction.linear_model import Floats

# The most uncertain images, per image to choose, among which the different ones are chosen: the paper's beta.
CANDIDATES = 10
# Keeps the weight of a certain image positive.
MIN_WEIGHT = 1e-9
SEED = 0


@dataclass(frozen=True, slots=True)
class Chosen:
    """An image to label.

    Attributes:
        row: Among the unlabeled images.
        predicted: The number of the most probable class.
        probability: Of that class.
        margin: That probability minus the next one's; 0 is a tie.
    """

    row: int
    predicted: int
    probability: float
    margin: float


def choose_images(embeddings: Embeddings, probabilities: Floats, count: int) -> list[Chosen]:
    """Choose images to label, the most uncertain first.

    The most uncertain ones are clustered by k-means, weighted by their uncertainty. The image nearest to each center is chosen.

    Args:
        embeddings: Of the unlabeled images, float32 N×D.
        probabilities: Of each image, N×K.
        count: How many to choose; at most N are chosen.
    """
    ordered = np.sort(probabilities, axis=1)
    margins = ordered[:, -1] - ordered[:, -2]
    candidates = np.argsort(margins, kind="stable")[: CANDIDATES * count]
    nearest = _nearest_to_centers(_normalize(embeddings[candidates]), 1 - margins[candidates], count)
    rows = sorted(candidates[nearest].tolist(), key=lambda row: margins[row])
    return [
        Chosen(row, int(probabilities[row].argmax()), float(ordered[row, -1]), float(margins[row]))
        for row in rows
    ]


def _nearest_to_centers(points: Embeddings, uncertainty: Floats, count: int) -> list[int]:
    """Return the point nearest to each of the centers; each point at most once."""
    from sklearn.cluster import KMeans  # noqa: PLC0415 - slow to import
    from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415

    if len(points) <= count:
        return list(range(len(points)))
    clusters = KMeans(count, n_init=1, random_state=SEED)
    with warnings.catch_warnings():
        # There may be fewer different points than centers.
        warnings.simplefilter("ignore", ConvergenceWarning)
        clusters.fit(points, sample_weight=uncertainty + MIN_WEIGHT)
    distances = clusters.transform(points)
    chosen: list[int] = []
    for center in range(count):
        distances[chosen, center] = np.inf
        chosen.append(int(distances[:, center].argmin()))
    return chosen


def _normalize(embeddings: Embeddings) -> Embeddings:
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    directions: Embeddings = embeddings / np.maximum(lengths, np.finfo(np.float32).tiny)
    return directions
