"""Find images that show the same picture with different bytes: re-encoded, resized, brightened or slightly cropped.

Perceptual hashes propose pairs, and 32×32 gray sketches confirm them. Hashes alone are not enough: thousands of pairs of chest
X-rays, and millions of pairs of handwritten digits, are within a few bits of each other.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
from scipy.fft import dct
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from visiongate.preparation.hamming import Hashes, Indices, Mask, Pairs, close_pairs
from visiongate.records.measurements import SKETCH_SIDE, Sketches
from visiongate.settings.preparation import NearDuplicates

Floats = npt.NDArray[np.float32]

# Frequencies in each direction.
HASH_SIDE = 8
# Sketches, or pairs of them, in a chunk: 32 MB in double precision.
CHUNK = 4096
# Pairs of coarse sketches in a chunk: 32 MB.
COARSE_CHUNK = 1 << 16
# Blocks on each side of a coarse sketch.
BLOCKS = 8
# Tolerance of squared differences in single precision, and of differences in double precision.
SINGLE_TOLERANCE = 1e-4
DOUBLE_TOLERANCE = 1e-9
# Standard deviation of a sketch's pixels, below which there is no picture to compare.
MIN_CONTRAST = 1.0
# The images of a larger cluster look alike, but are not copies of one picture.
MAX_CLUSTER = 20
# Of `max_difference`, within a crowd.
CROWD_SHARE = 0.5


def find_clusters(sketches: Sketches, limits: NearDuplicates, chosen: Mask | None = None) -> list[list[int]]:
    """Return clusters of images that show the same picture.

    Two images are near-duplicates if their perceptual hashes differ in at most ``max_distance`` bits, and the `differences` of
    their sketches is at most ``max_difference``. A cluster is a connected component of near-duplicates. If it has more than
    `MAX_CLUSTER` different sketches, such as thousands of handwritten ones, it is a chain of images that merely look alike;
    then only pairs within `CROWD_SHARE` of ``max_difference`` stay connected.

    Images without contrast are in no cluster.

    Args:
        sketches: uint8, N×32×32.
        limits: The two thresholds.
        chosen: The images to compare; by default all.

    Returns:
        The clusters of at least two images, each in ascending order, sorted by their first image.
    """
    flat = sketches.reshape(len(sketches), SKETCH_SIDE * SKETCH_SIDE)
    shown = _in_chunks(_contrasts, flat, np.zeros(0, dtype=np.float32)) >= MIN_CONTRAST
    rows = np.flatnonzero(shown if chosen is None else shown & chosen)
    first, same_as = _distinct(flat, rows)
    # A copy of a million sketches takes a gigabyte.
    components = _Components(flat if len(first) == len(flat) else flat[first], limits.max_difference)
    for pairs in close_pairs(components.hashes(), limits.max_distance, components.settle):
        components.add(pairs)
    members = defaultdict[int, list[int]](list)
    for image, label in zip(rows.tolist(), components.labels()[same_as].tolist(), strict=True):
        members[label].append(image)
    return [found for found in members.values() if len(found) > 1]


def perceptual_hashes(sketches: Sketches) -> Hashes:
    """Return the perceptual hashes of gray sketches, equal to ``imagehash.phash``.

    Each bit states whether one of the 8×8 lowest frequencies of the discrete cosine transform is above their median
    (N. Krawetz, Looks Like It, 2011, https://www.hackerfactor.com/blog/index.php?/archives/432-Looks-Like-It.html).

    Args:
        sketches: uint8, N×32×32.

    Returns:
        uint64, N; the first bit of ``imagehash`` is the highest.
    """
    hashes = np.empty(len(sketches), dtype=np.uint64)
    for start in range(0, len(sketches), CHUNK):
        block = sketches[start : start + CHUNK].astype(np.float64)
        low = dct(dct(block, axis=1)[:, :HASH_SIDE], axis=2)[:, :, :HASH_SIDE].reshape(len(block), -1)
        above = low > np.median(low, axis=1, keepdims=True)
        hashes[start : start + CHUNK] = np.packbits(above, axis=1).view(">u8")[:, 0]
    return hashes


def differences(one: Sketches, other: Sketches) -> npt.NDArray[np.float64]:
    """Return the root mean square difference of standardized sketches, pair by pair.

    This is sqrt(2 - 2 r) for a correlation r: 0 for the same picture, 1.41 for unrelated ones, 2 for a negative. Brightness and
    contrast do not matter.

    Args:
        one: uint8, N×1024, none of a single color.
        other: uint8, N×1024, none of a single color.
    """
    left, right = one.astype(np.int32), other.astype(np.int32)
    pixels = one.shape[1]
    # Integers give the same result on every machine.
    covariance = pixels * _dot(left, right) - left.sum(axis=1) * right.sum(axis=1)
    variances = [pixels * _dot(side, side) - side.sum(axis=1) ** 2 for side in (left, right)]
    correlation = covariance / np.sqrt(variances[0].astype(np.float64) * variances[1])
    difference: npt.NDArray[np.float64] = np.sqrt(np.maximum(0, 2 - 2 * correlation))
    return difference


def _dot(one: npt.NDArray[np.int32], other: npt.NDArray[np.int32]) -> Indices:
    # 1024 × 255² fits 32 bits.
    product: Indices = np.einsum("ij,ij->i", one, other).astype(np.int64)
    return product


class _Components:
    """Connected components at both limits, updated pair by pair."""

    def __init__(self, flat: Sketches, max_difference: float) -> None:
        self._flat = flat
        self._limits = (max_difference, max_difference * CROWD_SHARE)
        self._connected = [np.arange(len(flat)) for _ in self._limits]
        self._coarse = _in_chunks(_coarsen, flat, np.zeros((0, BLOCKS**2), dtype=np.float32))

    def hashes(self) -> Hashes:
        """Return the hashes of the sketches."""
        return perceptual_hashes(self._flat.reshape(-1, SKETCH_SIDE, SKETCH_SIDE))

    def add(self, pairs: Pairs) -> None:
        """Connect the pairs whose sketches are similar."""
        for coarse in _slices(pairs, COARSE_CHUNK):
            for chunk in _slices(self._filter(coarse), CHUNK):
                # Earlier chunks may have connected some of these pairs.
                one, other = self._filter(chunk)
                difference = differences(self._flat[one], self._flat[other])
                for which, limit in enumerate(self._limits):
                    similar = difference <= limit + DOUBLE_TOLERANCE
                    self._connect(which, one[similar], other[similar])

    def settle(self, rows: slice, columns: slice, close: Mask) -> Mask:
        """Connect the similar pairs of rows × columns by a matrix product, and return the pairs too close to a limit."""
        close = close & (self._connected[-1][rows, None] != self._connected[-1][columns])
        if close.any():
            close &= self._may_be_similar(_squares(self._coarse[rows], self._coarse[columns]))
        if not close.any():
            return close
        squares = _squares(_standardize(self._flat[rows]), _standardize(self._flat[columns]))
        unsure = np.zeros_like(close)
        for which, limit in enumerate(self._limits):
            one, other = np.nonzero(close & (squares < limit**2 - SINGLE_TOLERANCE))
            self._connect(which, one + rows.start, other + columns.start)
            unsure |= np.abs(squares - limit**2) <= SINGLE_TOLERANCE
        return close & unsure

    def labels(self) -> Indices:
        """Return a number for each sketch, equal for those in one cluster."""
        loose, strict = self._connected
        crowded = np.bincount(loose, minlength=len(loose))[loose] > MAX_CLUSTER
        labels: Indices = np.where(crowded, len(loose) + strict, loose)
        return labels

    def _filter(self, pairs: Pairs) -> Pairs:
        """Drop the pairs that are connected at both limits, or too different for either."""
        one, other = pairs
        new = self._connected[-1][one] != self._connected[-1][other]
        one, other = one[new], other[new]
        similar = self._may_be_similar(((self._coarse[one] - self._coarse[other]) ** 2).sum(axis=1))
        return one[similar], other[similar]

    def _may_be_similar(self, squares: npt.NDArray[np.float32]) -> Mask:
        """Compare coarse sketches: means of blocks never differ more than the pixels (Jensen's inequality)."""
        similar: Mask = squares <= self._limits[0] ** 2 + SINGLE_TOLERANCE
        return similar

    def _connect(self, which: int, one: Indices, other: Indices) -> None:
        labels = self._connected[which]
        if len(one):
            edges = np.ones(len(one), dtype=np.int8), (labels[one], labels[other])
            graph = coo_array(edges, shape=(len(labels), len(labels)))
            self._connected[which] = connected_components(graph, directed=False)[1][labels]


def _slices(pairs: Pairs, size: int) -> Iterator[Pairs]:
    one, other = pairs
    for start in range(0, len(one), size):
        yield one[start : start + size], other[start : start + size]


def _in_chunks(change: Callable[[Sketches], Floats], flat: Sketches, empty: Floats) -> Floats:
    return np.concatenate([empty, *(change(flat[at : at + CHUNK]) for at in range(0, len(flat), CHUNK))])


def _contrasts(flat: Sketches) -> Floats:
    contrasts: Floats = flat.std(axis=1, dtype=np.float32)
    return contrasts


def _standardize(flat: Sketches) -> Floats:
    """Return sketches with mean 0, scaled so that a sum of squared differences is a mean over pixels."""
    pixels = flat.astype(np.float32)
    pixels -= pixels.mean(axis=1, keepdims=True)
    standard: Floats = pixels / (pixels.std(axis=1, keepdims=True) * SKETCH_SIDE)
    return standard


def _coarsen(flat: Sketches) -> Floats:
    """Average standardized sketches over 8×8 blocks, with the same scale."""
    side = SKETCH_SIDE // BLOCKS
    blocks: Floats = _standardize(flat).reshape(-1, BLOCKS, side, BLOCKS, side).mean(axis=(2, 4)) * side
    return blocks.reshape(-1, BLOCKS**2)


def _squares(one: Floats, other: Floats) -> Floats:
    """Return the squared distance of each row to each other row."""
    squares: Floats = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1) - 2 * (one @ other.T)
    return squares


def _distinct(flat: Sketches, rows: Indices) -> tuple[Indices, Indices]:
    """Return the rows of the different sketches, and for each of the rows which of these it equals."""
    numbers: dict[bytes, int] = {}
    # Digests, because the dictionary would hold a copy of each sketch.
    same_as = np.fromiter(
        (numbers.setdefault(hashlib.sha256(flat[row]).digest(), len(numbers)) for row in rows),
        dtype=np.int64,
        count=len(rows),
    )
    return rows[np.unique(same_as, return_index=True)[1]], same_as
