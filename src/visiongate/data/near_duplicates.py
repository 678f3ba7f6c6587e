"""Which images show the same picture although their bytes differ: re-encoded, resized, brightened, slightly cropped.

Perceptual hashes propose the pairs and 32×32 grey sketches confirm them. Hashes alone would not do: they keep signs and no
sizes, so that thousands of pairs of chest X-rays, and millions of handwritten digits, are within a few bits of each other.
"""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from scipy.fft import dct
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from visiongate.config import NearDuplicates
from visiongate.data.hamming import Hashes, Indices, Mask, Pairs, close_pairs

Sketches = npt.NDArray[np.uint8]

SIDE = 32  # pixels of a sketch
HASH_SIDE = 8  # lowest frequencies in each direction
CHUNK = 4096  # sketches, or pairs of them, worked on at a time: 32 MB in double precision
SIFTED = 1 << 16  # pairs of coarse versions looked at at a time: 32 MB
BLOCKS = 8  # on each side of a sketch's coarse version
ROUNDING = 1e-4  # in single precision, of a coarse version's mean squared difference
EXACT = 1e-9  # the same, in double precision
LEAST_CONTRAST = 1.0  # standard deviation of a sketch's pixels; under it there is no picture to compare
CROWD = 20  # sketches; a larger cluster is no set of copies but a crowd of images that look alike
CROWD_SHARE = 0.5  # within a crowd, of the difference allowed elsewhere


def find_clusters(sketches: Sketches, limits: NearDuplicates) -> list[list[int]]:
    """Gather images into clusters that show the same picture.

    Two images are near-duplicates if their perceptual hashes differ in at most ``max_distance`` bits and their sketches in at
    most ``max_difference``, as `differences` has it. A cluster is all that near-duplicates connect, directly or over others.
    Where more than `CROWD` different sketches are connected, chance has chained what merely looks alike (thousands of
    handwritten ones, say), and only those within `CROWD_SHARE` of ``max_difference`` stay connected.

    A sketch without contrast is like no other: such images are in no cluster.

    Args:
        sketches: uint8, N×32×32.
        limits: The two thresholds.

    Returns:
        The clusters of two images or more, each in ascending order, by their first image.
    """
    flat = sketches.reshape(len(sketches), SIDE * SIDE)
    shown = np.flatnonzero(_contrasts(flat) >= LEAST_CONTRAST)
    first, same_as = _distinct(flat[shown])
    links = _Links(flat[shown[first]], limits.max_difference)
    for pairs in close_pairs(links.hashes(), limits.max_distance, links.may_connect):
        links.offer(pairs)
    members = defaultdict[int, list[int]](list)
    for image, label in zip(shown.tolist(), links.labels()[same_as].tolist(), strict=True):
        members[label].append(image)
    return [found for found in members.values() if len(found) > 1]


def perceptual_hashes(sketches: Sketches) -> Hashes:
    """Hash grey sketches as ``imagehash.phash`` does, all at once.

    A bit for each of the 8×8 lowest frequencies of the discrete cosine transform: whether it is above their median (N. Krawetz,
    Looks Like It, 2011, https://www.hackerfactor.com/blog/index.php?/archives/432-Looks-Like-It.html, as ImageHash has it).

    Args:
        sketches: uint8, N×32×32.

    Returns:
        64 bits an image, the first of ``imagehash``'s bits being the highest.
    """
    hashes = np.empty(len(sketches), dtype=np.uint64)
    for start in range(0, len(sketches), CHUNK):
        block = sketches[start : start + CHUNK].astype(np.float64)
        low = dct(dct(block, axis=1)[:, :HASH_SIDE], axis=2)[:, :, :HASH_SIDE].reshape(len(block), -1)
        above = low > np.median(low, axis=1, keepdims=True)
        hashes[start : start + CHUNK] = np.packbits(above, axis=1).view(">u8")[:, 0]
    return hashes


def differences(one: Sketches, other: Sketches) -> npt.NDArray[np.float64]:
    """Tell how much sketches differ, pair by pair, whatever their brightness and contrast.

    Each is taken less its mean and over its standard deviation; the difference is the root mean square of the pixels', which is
    sqrt(2 - 2 r) where r is the correlation: 0 for the same picture, 1.41 for unrelated ones, 2 for a negative.

    Args:
        one: uint8, N×1024, none of a single colour.
        other: The same.
    """
    left, right = one.astype(np.int32), other.astype(np.int32)
    pixels = one.shape[1]
    # In whole numbers, so that the result is the same on every machine.
    covariance = pixels * _dot(left, right) - left.sum(axis=1) * right.sum(axis=1)
    variances = [pixels * _dot(side, side) - side.sum(axis=1) ** 2 for side in (left, right)]
    correlation = covariance / np.sqrt(variances[0].astype(np.float64) * variances[1])
    difference: npt.NDArray[np.float64] = np.sqrt(np.maximum(0, 2 - 2 * correlation))
    return difference


def _dot(one: npt.NDArray[np.int32], other: npt.NDArray[np.int32]) -> Indices:
    product: Indices = np.einsum("ij,ij->i", one, other).astype(np.int64)  # 1024 × 255² fits 32 bits
    return product


class _Links:
    """What is connected with what, while pairs come in."""

    def __init__(self, flat: Sketches, max_difference: float) -> None:
        self._flat = flat
        self._limit = max_difference
        self._coarse = _coarsen(flat)
        self._loose = np.arange(len(flat))
        self._strict = np.arange(len(flat))

    def hashes(self) -> Hashes:
        return perceptual_hashes(self._flat.reshape(-1, SIDE, SIDE))

    def may_connect(self, rows: slice, columns: slice) -> Mask:
        """Tell which of rows × columns are news and alike at a coarse look: by one matrix product."""
        left, right = self._coarse[rows], self._coarse[columns]
        squares = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1) - 2 * (left @ right.T)
        news = self._strict[rows, None] != self._strict[columns]
        alike: Mask = news & self._within(squares)
        return alike

    def offer(self, pairs: Pairs) -> None:
        """Connect those of the pairs whose sketches are alike."""
        for one, other in _slices(*pairs, SIFTED):
            self._offer(*self._sift(one, other))

    def _offer(self, one: Indices, other: Indices) -> None:
        for pairs in _slices(one, other, CHUNK):  # after each, fewer of the rest are news
            left, right = self._sift(*pairs)
            difference = differences(self._flat[left], self._flat[right])
            for name, limit in (("_loose", self._limit), ("_strict", self._limit * CROWD_SHARE)):
                alike = difference <= limit + EXACT
                setattr(self, name, _connect(getattr(self, name), left[alike], right[alike]))

    def labels(self) -> Indices:
        """Number the clusters: one number an image, the same for those connected."""
        crowded = np.bincount(self._loose, minlength=len(self._loose))[self._loose] > CROWD
        labels: Indices = np.where(crowded, len(self._loose) + self._strict, self._loose)
        return labels

    def _sift(self, one: Indices, other: Indices) -> Pairs:
        news = self._strict[one] != self._strict[other]
        one, other = one[news], other[news]
        alike = self._within(((self._coarse[one] - self._coarse[other]) ** 2).sum(axis=1))
        return one[alike], other[alike]

    def _within(self, squares: npt.NDArray[np.float32]) -> Mask:
        """Tell what may be within the limit: a mean over blocks differs less than the pixels do (Jensen's inequality)."""
        alike: Mask = squares / BLOCKS**2 <= self._limit**2 + ROUNDING
        return alike


def _slices(one: Indices, other: Indices, size: int) -> Iterator[Pairs]:
    for start in range(0, len(one), size):
        yield one[start : start + size], other[start : start + size]


def _connect(labels: Indices, one: Indices, other: Indices) -> Indices:
    if not len(one):
        return labels
    count = len(labels)
    edges = coo_array((np.ones(len(one), dtype=np.int8), (labels[one], labels[other])), shape=(count, count))
    renumbered: Indices = connected_components(edges, directed=False)[1]
    return renumbered[labels]


def _contrasts(flat: Sketches) -> npt.NDArray[np.float64]:
    """Measure each sketch's standard deviation, a chunk at a time."""
    chunks = (flat[start : start + CHUNK] for start in range(0, len(flat), CHUNK))
    return np.concatenate([np.zeros(0), *(chunk.std(axis=1) for chunk in chunks)])


def _coarsen(flat: Sketches) -> npt.NDArray[np.float32]:
    """Average the standardised pixels of 8×8 blocks."""
    side = SIDE // BLOCKS
    coarse = np.empty((len(flat), BLOCKS**2), dtype=np.float32)
    for start in range(0, len(flat), CHUNK):
        chunk = flat[start : start + CHUNK].astype(np.float32)
        chunk = (chunk - chunk.mean(axis=1, keepdims=True)) / chunk.std(axis=1, keepdims=True)
        blocks = chunk.reshape(-1, BLOCKS, side, BLOCKS, side).mean(axis=(2, 4))
        coarse[start : start + CHUNK] = blocks.reshape(len(chunk), -1)
    return coarse


def _distinct(flat: Sketches) -> tuple[Indices, Indices]:
    """Collapse identical sketches: where each first stands, and which of these every sketch is."""
    numbers: dict[bytes, int] = {}
    same_as = [numbers.setdefault(sketch.tobytes(), len(numbers)) for sketch in flat]
    places = np.array(same_as, dtype=np.int64)
    return np.unique(places, return_index=True)[1], places
