"""Tests of embeddings: whether two samples have the same distribution, and whether images are far from all known ones."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from visiongate.monitoring.drift.distributions import Outcome
from visiongate.monitoring.drift.tails import hypergeometric_tail, weighted_chi_squared_tail

Matrix = npt.NDArray[np.float32]
# Random frequencies; each has a cosine and a sine.
FREQUENCIES: Final = 256
# Rows of the reference from which the width of the kernel is computed.
_WIDTH_ROWS: Final = 500
# Permutations, and rows of distances, in memory at a time.
_CHUNK: Final = 25
_ROWS: Final = 500
# Permutations with at least the actual statistic after which their share is the p-value: Besag, J., Clifford, P. (1991),
# Sequential Monte Carlo p-values, Biometrika 78(2), 301-304.
_ENOUGH: Final = 10
# Below it, the limit of the permutation distribution is not to be trusted.
_SMALLEST: Final = 1e-9
# Shares of the farthest images of both samples.
_FAR: Final = (0.02, 0.05, 0.1)
# Of the reference's images, so many are nearer to others than what is called far.
USUAL: Final = 0.98
_SEED: Final = 20261129


@dataclass(frozen=True, slots=True, eq=False)
class Novelty(Outcome):
    """The result of the test of novelty.

    Attributes:
        far: Which images of the second sample are farther than nearly all of the first, n.
    """

    far: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class FeatureMap:
    """Random Fourier features of a Gaussian kernel, whose scalar products are its values.

    Rahimi, A., Recht, B. (2007), Random features for large-scale kernel machines, NIPS. With them, the maximum mean discrepancy
    takes linear time and memory: Zhao, J., Meng, D. (2015), FastMMD, Neural Computation 27(6), 1345-1372.

    Attributes:
        frequencies: float32, d×R.
    """

    frequencies: Matrix

    @classmethod
    def fit(cls, embedding: npt.NDArray[np.floating]) -> "FeatureMap":
        """Return the features of the kernel whose width is the median distance of embeddings, N×d."""
        generator = np.random.default_rng(_SEED)
        rows = embedding[:: max(1, len(embedding) // _WIDTH_ROWS)].astype(np.float32)
        squares = _squared_distances(rows, rows)[np.triu_indices(len(rows), 1)]
        width = math.sqrt(max(float(np.median(squares)), 1e-30))
        normal = generator.standard_normal((embedding.shape[1], FREQUENCIES), np.float32)
        return cls(normal / np.float32(width))

    def __call__(self, embedding: npt.NDArray[np.floating]) -> Matrix:
        """Return the features of embeddings, N×2R."""
        phases = embedding.astype(np.float32) @ self.frequencies
        features = np.concatenate([np.cos(phases), np.sin(phases)], axis=1)
        return np.asarray(features / np.float32(math.sqrt(FREQUENCIES)), np.float32)


def compare_means(before: Matrix, after: Matrix, permutations: int) -> Outcome:
    """Test whether two samples have the same distribution by the maximum mean discrepancy of their features.

    Gretton, A. et al. (2012), A kernel two-sample test, JMLR 13, 723-773. The p-value is the share of permutations with at
    least the actual statistic. If they are too few to count, it is that of the limit of the permutation distribution, a
    weighted sum of squares of normal variables. The effect is the square root of the unbiased estimate.

    Args:
        before: Features, N×D.
        after: Features, n×D.
        permutations: At most.
    """
    both = np.concatenate([before, after])
    both -= both.mean(axis=0)
    size, total = len(after), len(both)
    # Of a sum over the window: sampling without replacement.
    factor = total * size / (total - size)
    distance = float(np.square(both[-size:].mean(axis=0)).sum())
    variance = float(np.square(both).sum()) / (total - 1)
    if variance == 0:
        return Outcome(0.0, 1.0)
    effect = math.sqrt(max(0.0, (distance * factor - variance) * total / (size * (total - size))))
    p_value = _share_of_permutations(both, size, distance, permutations)
    if p_value is None:
        weights = np.linalg.eigvalsh(both.T @ both / np.float32(total - 1)).astype(np.float64)
        p_value = max(_SMALLEST, weighted_chi_squared_tail(distance * factor, weights))
    return Outcome(effect, p_value)


def compare_novelty(anchors: Matrix, before: Matrix, after: Matrix) -> Novelty:
    """Test whether more images are far from all known ones, by the distance to the nearest of some anchors.

    The test is exact: among the farthest images of both samples, the number of those of the second is hypergeometric. The
    effect is the share of the second sample that is farther than nearly all of the first, less the share expected.

    Args:
        anchors: Embeddings that are in neither sample, A×d.
        before: Embeddings, N×d.
        after: Embeddings, n×d.
    """
    known, new = nearest_distances(before, anchors), nearest_distances(after, anchors)
    both = np.concatenate([known, new])
    p_values = []
    for share in _FAR:
        threshold = np.quantile(both, 1 - share)
        marked = int((both >= threshold).sum())
        p_values.append(hypergeometric_tail(marked, len(new), len(both), int((new >= threshold).sum())))
    far = new > np.quantile(known, USUAL)
    return Novelty(float(far.mean()) - (1 - USUAL), min(1.0, len(_FAR) * min(p_values)), far)


def nearest_distances(
    embedding: npt.NDArray[np.floating], anchors: npt.NDArray[np.floating]
) -> npt.NDArray[np.float32]:
    """Return the distance of each embedding to the nearest anchor."""
    known = anchors.astype(np.float32)
    parts = [_squared_distances(rows, known).min(axis=1) for rows in _chunks(embedding)]
    return np.asarray(np.sqrt(np.concatenate(parts)), np.float32)


def near_pairs(embedding: npt.NDArray[np.floating], distance: float) -> npt.NDArray[np.bool_]:
    """Return which embeddings are at most so far from each other, N×N."""
    every = embedding.astype(np.float32)
    return np.concatenate([_squared_distances(rows, every) <= distance**2 for rows in _chunks(every)])


def _share_of_permutations(both: Matrix, size: int, actual: float, permutations: int) -> float | None:
    """Return the share of permuted samples whose mean is at least as far from that of all; None if they are too few."""
    generator, found = np.random.default_rng(_SEED), 0
    for start in range(0, permutations, _CHUNK):
        count = min(_CHUNK, permutations - start)
        keys = generator.random((count, len(both)), np.float32)
        chosen = np.argpartition(keys, size, axis=1)[:, :size]
        selection = np.zeros((count, len(both)), np.float32)
        np.put_along_axis(selection, chosen, 1 / size, axis=1)
        distances = np.square(selection @ both).sum(axis=1)
        for index in np.flatnonzero(distances >= actual):
            found += 1
            if found == _ENOUGH:
                return _ENOUGH / (start + int(index) + 1)
    return None


def _squared_distances(rows: Matrix, columns: Matrix) -> Matrix:
    products = rows @ columns.T
    norms = np.square(rows).sum(axis=1)[:, None] + np.square(columns).sum(axis=1)
    return np.asarray((norms - 2 * products).clip(0), np.float32)


def _chunks(rows: npt.NDArray[np.floating]) -> Iterator[Matrix]:
    for start in range(0, len(rows), _ROWS):
        yield rows[start : start + _ROWS].astype(np.float32)
